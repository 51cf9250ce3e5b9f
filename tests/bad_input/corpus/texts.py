"""Bytes that are JSON, almost JSON, or something else: what an argument may be made of."""

import gzip
import json
import pickle
from typing import NamedTuple

from backline.job import MAX_PAYLOAD


class Text(NamedTuple):
    """Bytes in the place of one argument."""

    name: str
    data: bytes
    verdict: str
    """`value`: JSON that any decoder takes; `refused`: JSON of a value that Python cannot
    hold; `broken`: no JSON."""


def _nested(depth: int, opened: bytes = b"[", closed: bytes = b"]", core: bytes = b"") -> bytes:
    return opened * depth + core + closed * depth


_VALUES = {
    "zero": b"0",
    "minus zero": b"-0",
    "nested 10 deep": _nested(10),
    "nested 300 deep": _nested(300),
    "objects nested 300 deep": _nested(300, b'{"a":', b"}", b"1"),
    "int of 64 bits": str(2**64 - 1).encode(),
    "int of 65 bits": str(2**64).encode(),
    "smallest int of 64 bits": str(-(2**63)).encode(),
    "below any float": b"1e-400",
    "100,000 decimals": b"0." + b"3" * 100_000,
    "a key twice": b'{"a":1,"a":2}',
    "empty key": b'{"":1}',
    "__proto__": b'{"__proto__":{"x":1}}',
    "__class__": b'{"__class__":"os.system","args":["id"]}',
    "pickle in base64": b'"gASVFAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOULg=="',
    "NUL escaped": b'"a\\u0000b"',
    "escape sequence escaped": b'"\\u001b[31mred\\u001b[0m"',
    "line ends escaped": b'"a\\r\\nINFO forged"',
    "pair of surrogates escaped": b'"\\ud83d\\ude00"',
    "byte order mark within": '"\ufeff"'.encode(),
    "right to left": '"\u202egnp.exe"'.encode(),
    "unassigned": '"\U000e0fff"'.encode(),
    "noncharacter": '"\uffff"'.encode(),
    "white space around": b" \n\t\r1 ",
    "1 KiB": b'"' + b"x" * 1024 + b'"',
    "100 KiB": b'"' + b"x" * 102_400 + b'"',
    "as much as a job carries": b'"' + b"x" * (MAX_PAYLOAD - len('[[""],{}]')) + b'"',
}
_REFUSED = {
    "int of 5,000 digits": b"9" * 5_000,
    "int of 100,000 digits": b"9" * 100_000,
    "negative int of 5,000 digits": b"-" + b"9" * 5_000,
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "1e999999999": b"1e999999999",
}
_BROKEN = {
    "nothing": b"",
    "white space alone": b" \n",
    "nested 10,000 deep": _nested(10_000),
    "nested 100,000 deep": _nested(100_000),
    "objects nested 100,000 deep": _nested(100_000, b'{"a":', b"}", b"1"),
    "opened 100,000 times": b"[" * 100_000,
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "NaN in a list": b"[NaN]",
    "undefined": b"undefined",
    "None": b"None",
    "True": b"True",
    "high surrogate alone": b'"\\ud800"',
    "low surrogate alone": b'"\\udc00x"',
    "surrogates the wrong way round": b'"\\ude00\\ud83d"',
    "surrogate as bytes": b'"\xed\xa0\x80"',
    "no UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "UTF-8 cut off": b'"\xe2\x82"',
    "Latin-1": '"é"'.encode("latin-1"),
    "UTF-16": '"a"'.encode("utf-16"),
    "UTF-32": '"a"'.encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf1",
    "NUL": b"\0",
    "NUL in text": b'"a\0b"',
    "NUL behind": b"1\0",
    "control character in text": b'"\x01"',
    "tab in text": b'"\t"',
    "line end in text": b'"\n"',
    "escape sequence in text": b'"\x1b[2J"',
    "unknown escape": b'"\\x41"',
    "escape cut off": b'"\\u12"',
    "text not closed": b'"abc',
    "list not closed": b"[1,2",
    "object not closed": b'{"a":1',
    "closed too often": b"1]]]],{}]",
    "comma at the end": b"[1,]",
    "comma in the object": b'{"a":1,}',
    "no colon": b'{"a" 1}',
    "key is no text": b"{1:1}",
    "single quotes": b"'a'",
    "comment": b"1/*x*/",
    "comment to the end": b"1//x",
    "leading zero": b"01",
    "leading plus": b"+1",
    "leading dot": b".5",
    "dot at the end": b"1.",
    "exponent missing": b"1e",
    "hexadecimal": b"0x1f",
    "digits of other scripts": "\u0661\u0662".encode(),
    "two values": b"1 2",
    "form feed": b"\x0c1",
    "no-break space": "\u00a01".encode(),
    "bare word": b"hello",
    "Python bytes": b"b'x'",
    "pickle": pickle.dumps({"a": 1}),
    "pickle of a class": b"cposix\nsystem\n(S'id'\ntR.",
    "gzip": gzip.compress(b"1" * 1000, mtime=0),
    "MessagePack": b"\x81\xa1a\x01",
    "CBOR": b"\xa1aa\x01",
    "BSON": b"\x0c\0\0\0\x10a\0\x01\0\0\0\0",
    "YAML": b"!!python/object/apply:os.system [id]",
    "XML": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
    "SQL": b"'); drop table job; --",
}

TEXTS = [
    *(Text(name, data, "value") for name, data in _VALUES.items()),
    *(Text(name, data, "refused") for name, data in _REFUSED.items()),
    *(Text(name, data, "broken") for name, data in _BROKEN.items()),
]
HUGE = [
    Text("nested a million deep", _nested(1_000_000), "broken"),
    Text("opened ten million times", b"[" * 10_000_000, "broken"),
    Text("int of ten million digits", b"9" * 10_000_000, "refused"),
    Text("64 MiB less one", json.dumps("x" * (64 * 2**20 - 3)).encode(), "value"),
    Text("64 MiB", json.dumps("x" * (64 * 2**20 - 2)).encode(), "value"),
    Text("64 MiB and one", json.dumps("x" * (64 * 2**20 - 1)).encode(), "value"),
]


def payload(text: Text) -> bytes:
    """The payload of a job with the text as its only argument."""
    return b"[[" + text.data + b"],{}]"
