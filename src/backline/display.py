"""How things look to people: times, lengths, ids, and text that nobody vouches for.

Names, arguments and error messages come from jobs, and so from anywhere: `safe` writes out
what would end a line, drive the terminal or turn the direction of writing.
"""

import re
from datetime import UTC, datetime
from typing import Final

from msgspec import DecodeError, Raw, json

from backline import duration
from backline.job import DAY, MINUTE, SECOND, JobId, Micros, Pacing

ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_HEAD: Final = 13
"""So many characters of an id say when it was made, to the millisecond."""
_TAIL: Final = 4
_PASSWORD: Final = re.compile(r"^([^:/?#]+://[^:/?#@]*:).*(?=@)", re.DOTALL)
"""Up to the last @: one that was not quoted hides too much rather than too little."""
_SECRET: Final = re.compile(
    r"([?&][^=&#]*(?:pass|pwd|secret|token|key)[^=&#]*=)[^&#]*", re.IGNORECASE
)


def safe(text: str, *, most: int | None = None) -> str:
    """`text` on one line of printable characters, cut to `most` of them."""
    if most is not None and len(text) > most:
        text = text[: most + 1]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _written_out(char) for char in text)
    if most is not None and len(text) > most:
        return text[: most - 1] + ELLIPSIS
    return text


def clean(said: str) -> str:
    """The text, any surrogate in it replaced."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return said.encode("utf-8", "replace").decode()
    return said


def clipped(text: str, limit: int) -> str:
    """`text`, without its middle if it is longer than `limit`: the ends say what is wrong."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - limit:,} characters left out ...\n{text[-half:]}"


def shown(value: object, *, most: int = 80) -> str:
    """A value as Python writes it, on one line and cut, whatever it is: for error messages."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - an int too long to print, somebody's __repr__
        return f"<{type(value).__qualname__} whose repr fails: {type(error).__name__}>"
    return safe(text if len(text) <= most else f"{text[: most - 3]}...")


def without_secrets(url: str) -> str:
    """A URL for people: on one line, and without the passwords, tokens and keys in it."""
    return safe(_SECRET.sub(r"\1***", _PASSWORD.sub(r"\1***", url)))


def safe_lines(text: str, indent: str) -> str:
    """`text` on as many lines as it has, each printable and indented: none can pass as ours."""
    return "\n".join(indent + safe(line) for line in text.splitlines())


def safe_json(raw: Raw | bytes | None, *, most: int | None = None) -> str:
    """Stored JSON on one line; what is none is shown as the text it is."""
    data = b"null" if raw is None else bytes(raw)
    text = data.decode(errors="backslashreplace")
    return safe(" ".join(text.split()) if "\n" in text else text, most=most)


def valid_json(raw: Raw | bytes | None) -> Raw | None:
    """Stored JSON on one line for passing on; None for what is no JSON, or is not there."""
    if raw is None:
        return None
    try:
        json.decode(raw)
        return Raw(json.format(bytes(raw), indent=-1))
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def short_id(job_id: JobId) -> str:
    """An id cut in its middle; commands take it so. Of two jobs it is rarely the same."""
    if len(job_id) <= _HEAD + 1 + _TAIL:
        return safe(job_id)
    return safe(f"{job_id[:_HEAD]}{ELLIPSIS}{job_id[-_TAIL:]}")


def span(length: Micros) -> str:
    """How long, in the two largest units: "850 µs", "4.1 ms", "2.5 s", "3m12s", "8d4h"."""
    if length < 0:
        return f"-{span(-length)}"
    if length < 1_000:
        return f"{length} µs"
    if length < SECOND:
        millis = length / 1_000
        return f"{millis:.3g} ms" if millis < 100 else f"{millis:.0f} ms"
    if length < MINUTE:
        return f"{length / SECOND:.3g} s"
    return duration.text(length)


def ago(then: Micros, now: Micros) -> str:
    """A time as seen from `now`: "3m12s ago", "in 5 s"."""
    apart = now - then
    if abs(apart) < SECOND:
        return "now"
    return f"{span(apart)} ago" if apart > 0 else f"in {span(-apart)}"


def moment(then: Micros, now: Micros) -> str:
    """A time on the local clock, and as seen from `now`; far ones with their date alone."""
    try:
        local = datetime.fromtimestamp(then / SECOND, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{then} µs after 1970"
    return f"{local:%Y-%m-%d %H:%M:%S} ({ago(then, now)})"


def clock_time(then: Micros) -> str:
    """The local time of day."""
    return f"{datetime.fromtimestamp(then / SECOND, UTC).astimezone():%H:%M:%S}"


def iso(then: Micros) -> str:
    """ISO 8601, in UTC, to the microsecond; a year that it cannot write as microseconds."""
    try:
        seconds, rest = divmod(then, SECOND)
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{then}us"
    return f"{whole.isoformat()[:19]}.{rest:06d}Z"


def rate(per_second: float) -> str:
    """Jobs per second, or per a longer time if they are rare."""
    if per_second <= 0:
        return "0/s"
    if per_second >= 0.1:
        return f"{per_second:,.3g}/s" if per_second < 1_000 else f"{per_second:,.0f}/s"
    if per_second * 3600 >= 1:
        return f"{per_second * 3600:.3g}/h"
    return f"{per_second * DAY / SECOND:.3g}/d"


def _written_out(char: str) -> str:
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if char in known:
        return known[char]
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def pace(pacing: Pacing) -> str:
    """How often something may start: "each 600 ms, 2 at once after a rest"."""
    each = f"each {span(pacing.interval)}"
    return each if pacing.burst == 1 else f"{each}, {pacing.burst:,} at once after a rest"
