"""Names and keys: what people, programs and attackers call things."""

from itertools import product
from typing import Any, NamedTuple


class Name(NamedTuple):
    """Something in the place of a name."""

    name: str
    value: Any
    fine: bool
    """It is stored as it stands; else it is refused."""


class Text(str):
    """A text that looks otherwise to whoever asks, as those of some template engines do."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 1


_FINE = {
    "one letter": "a",
    "200 characters": "x" * 200,
    "words": "two words",
    "parent directories": "../../etc/passwd",
    "absolute path": "/etc/passwd",
    "Windows path": "C:\\Windows\\System32",
    "device": "CON",
    "percent zero": "a%00b",
    "percent newline": "a%0d%0ab",
    "percent format": "%s%n%x %(asctime)s",
    "brace format": "{0.__class__} {job_id}",
    "dollar": "$HOME ${PATH} $(id) `id`",
    "shell": "; rm -rf / #",
    "option": "--help",
    "minus": "-",
    "glob": "*?[a-z]{x,y}**",
    "hash tag": "{tag}:key",
    "regular expression": "(a+)+$",
    "SQL quote": "'; drop table job; --",
    "SQL double quote": '" or 1=1 --',
    "SQL pattern": "%_%",
    "Lua": '"]]..os.execute("id")--[[',
    "JSON": '","state":"succeeded',
    "template": "{{7*7}} <%= 7*7 %> #{7*7}",
    "log4j": "${jndi:ldap://x/a}",
    "header": "Set-Cookie: a=b",
    "null": "null",
    "None": "None",
    "NaN": "NaN",
    "number": "0x1F",
    "true": "true",
    "equals": "a=b=c",
    "comma": "a,b",
    "colon": "a:b:c",
    "emoji": "\U0001f600",
    "emoji with skin and sex": "\U0001f469\U0001f3fd",
    "flags": "\U0001f1e9\U0001f1ea",
    "Arabic": "\u0645\u0631\u062d\u0628\u0627",
    "Chinese": "\u5de5\u4f5c",
    "combining": "e\u0301",
    "many combining": "a" + "\u0301" * 100,
    "full width": "\uff41\uff42",
    "look-alike": "p\u0430ypal",
    "replacement character": "\ufffd",
    "dotless i": "\u0131\u0130",
    "sharp s": "\u00df\u1e9e",
    "str of another class": Text("plain"),
}
_REFUSED = {
    "nothing": "",
    "space": " ",
    "space before": " a",
    "space behind": "a ",
    "201 characters": "x" * 201,
    "100,000 characters": "x" * 100_000,
    "10 million characters": "x" * 10_000_000,
    "line feed": "a\nb",
    "carriage return and line feed": "a\r\nINFO forged",
    "line feed behind": "a\n",
    "carriage return": "safe\rforged",
    "tab": "a\tb",
    "vertical tab": "a\x0bb",
    "NUL": "a\0b",
    "NUL behind": "a\0",
    "backspace": "a\b\b\b",
    "bell": "a\x07",
    "delete": "a\x7f",
    "colour": "\x1b[31mred\x1b[0m",
    "clear the screen": "\x1b[2J\x1b[H",
    "title of the window": "\x1b]0;title\x07",
    "link": "\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\",
    "eight-bit control sequence": "\x9b31m",
    "next line": "a\x85b",
    "line separator": "a\u2028forged",
    "paragraph separator": "a\u2029forged",
    "right to left override": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "zero width space": "a\u200bb",
    "zero width joiner": "\U0001f469\u200d\U0001f469",
    "byte order mark": "\ufeffa",
    "soft hyphen": "a\u00adb",
    "no-break space": "\u00a0a",
    "ideographic space": "\u3000a",
    "high surrogate": "\ud800",
    "low surrogate": "a\udcffb",
    "private use": "\ue000",
    "noncharacter": "\uffff",
    "unassigned": "\U000e0fff",
    "bytes": b"a",
    "int": 5,
    "float": 1.5,
    "bool": True,
    "list": ["a"],
    "dict": {"a": 1},
    "object": object(),
}

NAMES = [
    *(Name(name, value, fine=True) for name, value in _FINE.items()),
    *(Name(name, value, fine=False) for name, value in _REFUSED.items()),
]

_WRAPS = [
    "{}",
    '">{}',
    "'>{}",
    "</script>{}",
    "</title>{}",
    "--!>{}",
    "]]>{}",
    "\\x3c{}",
    "${{{}}}",
]
_PAYLOADS = [
    "<script>alert(1)</script>",
    "<ScRiPt >alert(1)</sCrIpT>",
    "<script/src=//x.y></script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<body onpageshow=alert(1)>",
    "<iframe srcdoc='&lt;script&gt;alert(1)&lt;/script&gt;'>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='java&#115;cript:alert(1)'>x</a>",
    "<math><mi xlink:href='javascript:alert(1)'>",
    "<object data='data:text/html,<script>alert(1)</script>'>",
    "<base href=//x.y>",
    "<meta http-equiv=refresh content='0;url=//x.y'>",
    "<link rel=stylesheet href=//x.y>",
    "<style>@import '//x.y'</style>",
    "<form action=//x.y><button>x",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<x onclick=alert(1)>x",
]
XSS = [
    Name(f"XSS {at}", wrap.format(text), fine=True)
    for at, (wrap, text) in enumerate(product(_WRAPS, _PAYLOADS))
]
"""Two hundred ways to make a page run a script; to us they are names like any other."""
