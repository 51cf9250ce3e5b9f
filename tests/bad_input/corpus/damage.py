"""What somebody, or a bug, may have written into the file past the store.

A file has four jobs, the first of which is the victim (seq 1); the others are healthy. SQLite
itself keeps wrong types out (`strict`), so what is left is text that is no text, JSON that is
none, numbers at their ends, rows that refer to nothing, and states that there are not.
"""

import json
from typing import NamedTuple

from tests.bad_input.corpus.texts import TEXTS, payload


class Damage(NamedTuple):
    """Statements to run on the file, and what is to become of the victim.

    `fate`: the state it ends in when everything has run; `purged`: it is gone. `kind`: of its
    last error. `healthy`: the state the others end in.
    """

    name: str
    sql: str
    values: tuple[object, ...] = ()
    fate: str = "succeeded"
    kind: str = ""
    healthy: str = "succeeded"

    @property
    def alone(self) -> bool:
        """It harms more than one row, and so needs a file of its own."""
        return "where seq = 1" not in self.sql or "insert" in self.sql

    def of(self, seq: int) -> str:
        """The statement, with another victim."""
        assert not self.alone
        return self.sql.replace("where seq = 1", f"where seq = {seq}")


MOST = 2**63 - 1
LEAST = -(2**63)

_CELLS: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"5",
    "a text": b'"x"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "no UTF-8": b"\xff",
    "NUL": b"\0",
    "NUL behind": b"[]\0",
    "surrogate": b'"\xed\xa0\x80"',
    "pickle": b"\x80\x04\x95\x10\0\0\0.",
    "nested 100,000 deep": b"[" * 100_000,
    "nested 300 deep": b"[" * 300 + b"]" * 300,
    "nested 5,000 deep": b"[" * 5_000 + b"]" * 5_000,
    "100,000 digits": b"9" * 100_000,
    "cut off": b"[1,",
    "byte order mark": b"\xef\xbb\xbf[]",
    "another row": b'[],[]],["x"',
    "two values": b"1,2",
    "NaN": b"NaN",
    "300 kB": b"x" * 300_000,
    "escape sequence": b'"\x1b[2J\r\nforged"',
}
_UNREADABLE = {"terms", "headers", "tags"}
_TASKS_OF_NOBODY = {"task"}


def _cell(column: str, name: str, data: bytes) -> Damage:
    fate, kind = "succeeded", ""
    if column in _UNREADABLE and not _reads(column, name):
        fate, kind = "dead", "malformed"
    if column == "task":
        fate = "scheduled"  # put back: some other worker may know it
        if name in _NO_TEXT:
            fate, kind = "dead", "malformed"
    if column == "id" and (name in _NO_TEXT or len(data) > 40):
        fate, kind = "dead", "malformed"
    return Damage(
        f"{column} is {name}", f"update job set {column} = cast(? as text) where seq = 1",
        (data,), fate, kind,
    )  # fmt: skip


_NO_TEXT = {"no UTF-8", "surrogate", "pickle"}


def _reads(column: str, name: str) -> bool:
    return (
        name
        == {"terms": "an empty list", "headers": "an empty object", "tags": "an empty list"}[column]
    )


def _json(column: str, name: str, value: str, *, reads: bool) -> Damage:
    return Damage(
        f"{column} is {name}", f"update job set {column} = ? where seq = 1", (value,),
        "succeeded" if reads else "dead", "" if reads else "malformed",
    )  # fmt: skip


_BACKOFF = "[1000000,3600000000,2.0,true,[]]"
_TERMS = {
    "of texts": ('["a","b","c","d","e"]', False),
    "short": ("[5]", True),
    "negative": ("[-1,-1,[-1,-1,-1.0,true,[]],3600000000,-1]", True),
    "as far as can be": (f"[5,{2**62},[1,{2**62},1e308,true,[{2**62}]],{2**62},{2**62}]", True),
    "beyond": (f"[5,{MOST},{_BACKOFF},{MOST},{MOST}]", False),
    "of 24 digits": (f"[5,1,{_BACKOFF},{'9' * 24},1]", False),
    "of fractions": (f"[5,1.5,{_BACKOFF},1,1]", False),
    "infinite": (f"[5,1,{_BACKOFF},1e400,1]", False),
    "of a later version": (f'[5,3600000000,{_BACKOFF},3600000000,1,"v9",{{}}]', True),
    "an object": ('{"max_attempts":5}', False),
}
_HEADERS = {
    "of ints": ('{"a":1}', False),
    "of a key twice": ('{"a":"1","a":"2"}', True),
    "of escape sequences": (json.dumps({"\x1b[31m": "\r\nforged"}), True),
}
_TAGS = {
    "ints": ("[1,2]", False),
    "escape sequences": (json.dumps(["\x1b[31m\r\nforged"]), True),
    "10,000": (json.dumps(["x"] * 10_000), True),
}
_ERRORS = {
    "short": "[[1]]",
    "an object": '[{"a":1}]',
    "a thousand": json.dumps([[1, "k", "m", "t", 5]] * 1000),
    "escape sequences": json.dumps([[1, "\x1b[31mk", "m\r\nforged", "t\x1b]0;x\x07\nforged", 5]]),
    "at 24 digits": '[[1,"k","m","t",999999999999999999999999]]',
    "at the end of time": f'[[1,"k","m","t",{2**62}]]',
}
_PROGRESS = {
    "infinite": '["x",1,1e400,1,"n"]',
    "negative": '["x",1,-5,0,"n"]',
    "escape sequences": json.dumps(["x", 1, 1.0, 2.0, "\x1b[2J\r\nforged"]),
    "of nothing": '["x",1,1.0,0,"n"]',
    "huge": '["x",1,1e308,1e-308,"n"]',
}


def _cells() -> list[Damage]:
    columns = (
        *("terms", "headers", "tags", "errors", "result", "progress"),
        *("task", "unique_key", "worker", "id"),
    )
    return [
        *(_cell(column, name, data) for column in columns for name, data in _CELLS.items()),
        _cell("id", "40 letters beyond ASCII", "é".encode() * 40),
        *(_json("terms", name, value, reads=reads) for name, (value, reads) in _TERMS.items()),
        *(_json("headers", name, value, reads=reads) for name, (value, reads) in _HEADERS.items()),
        *(_json("tags", name, value, reads=reads) for name, (value, reads) in _TAGS.items()),
        *(_json("errors", name, value, reads=True) for name, value in _ERRORS.items()),
        *(_json("progress", name, value, reads=True) for name, value in _PROGRESS.items()),
    ]


_UNSEEN = {"surrogate as bytes", "no UTF-8", "overlong UTF-8", "UTF-8 cut off", "Latin-1"}
_NO_ARGUMENT = {"nothing", "white space alone"}


def _payloads() -> list[Damage]:
    found: list[Damage] = []
    for text in TEXTS:
        fate, kind = "dead", "malformed"
        if text.verdict == "value" or text.name in _NO_ARGUMENT:
            fate, kind = "succeeded", ""
        elif text.verdict == "refused" or text.name in _UNSEEN:
            kind = "backline.errors.InvalidArguments"
        name, data = f"an argument is {text.name}", payload(text)
        found.append(
            Damage(
                name, "update job set payload = cast(? as text) where seq = 1", (data,), fate, kind
            )
        )
    for name, data in _CELLS.items():
        whole = name not in {"an empty list", "null", "a number", "a text", "an empty object"}
        kind = "malformed" if whole else "backline.errors.InvalidArguments"
        if name in {"surrogate", "nested 300 deep", "100,000 digits"}:
            kind = "backline.errors.InvalidArguments"
        if name == "two values":
            kind = ""  # one too many for the row, or for the task
        found.append(
            Damage(
                f"payload is {name}", "update job set payload = cast(? as text) where seq = 1",
                (data,), "dead", kind,
            )
        )  # fmt: skip
    return found


_NUMBERS = {
    "negative": -1,
    "least": LEAST,
    "most": MOST,
    "of the year 2769": 25_214_025_600_000_000,
}


def _numbers() -> list[Damage]:
    found: list[Damage] = []
    for column in (
        *("attempt", "failures", "losses", "releases", "cancel", "due", "enqueued_at", "rank"),
        *("expires_at", "purge_at", "until", "call", "started_at", "finished_at", "unique_until"),
    ):
        for name, value in _NUMBERS.items():
            fate, kind = "succeeded", ""
            if column in {"due", "enqueued_at", "rank"} and name in {"least", "most"}:
                fate, kind = "dead", "malformed"
            if column == "rank" and name == "most":
                fate, kind = "succeeded", ""
            if column == "expires_at" and name in {"negative", "least"}:
                fate = "expired"
            if column == "cancel":
                fate, kind = "succeeded", ""
            sql = f"update job set {column} = ? where seq = 1"
            found.append(Damage(f"{column} is {name}", sql, (value,), fate, kind))
    return found


def _states() -> list[Damage]:
    return [
        Damage(
            "state that there is not",
            "update job set state = 'zombie' where seq = 1",
            fate="zombie",
        ),
        Damage("state is empty", "update job set state = '' where seq = 1", fate=""),
        *(
            Damage(f"lane {lane!r}", "update job set lane = ? where seq = 1", (lane,), "ready")
            for lane in ("x", "", 'm"],[', "MAIN")
        ),
        *(
            Damage(f"of queue {queue}", "update job set queue = ? where seq = 1", (queue,), "ready")
            for queue in (999, -1, 0, MOST)
        ),
        *(
            Damage(
                f"{state} without a time", "update job set state = ? where seq = 1", (state,), state
            )
            for state in ("waiting", "succeeded", "dead", "cancelled", "expired")
        ),
        Damage("scheduled and long due", "update job set state = 'scheduled' where seq = 1"),
        *(
            Damage(
                f"{state} and past its keep",
                "update job set state = ?, purge_at = 1, finished_at = 1 where seq = 1",
                (state,),
                "purged",
            )
            for state in ("succeeded", "dead", "cancelled", "expired")
        ),
    ]


def _leases() -> list[Damage]:
    held = "update job set state = 'running', worker = 'ghost', call = 1, until = 1, attempt = 1"
    victim = " where seq = 1"
    return [
        Damage("running with nobody", held + victim),
        Damage(
            "running with terms that are none",
            held + ", terms = 'x'" + victim,
            fate="dead",
            kind="malformed",
        ),
        Damage("running in a lane that there is not", held + ", lane = 'x'" + victim, kind="lost"),
        Damage(
            "running in a queue that is gone",
            held + ", queue = 99" + victim,
            fate="ready",
            kind="lost",
        ),
        Damage("running for the last time", held + f", attempt = {MOST}" + victim),
        Damage(
            "running with counts at their ends",
            held + f", failures = {LEAST}, losses = {MOST}" + victim,
        ),
        Damage("running without a worker", held + ", worker = null" + victim),
        Damage("running without an end", held + ", until = null" + victim, fate="running"),
        Damage(
            "running a task that is no text",
            held + ", task = cast(x'ff00' as text)" + victim,
            fate="dead",
            kind="malformed",
        ),
        Damage(
            "running with terms beyond 64 bits",
            held + ", terms = '[5,99999999999999999999]'" + victim,
            fate="dead",
            kind="malformed",
        ),
    ]


def _counts() -> list[Damage]:
    text = "cast(x'ff' as text)"
    return [
        *(
            Damage(f"counts are {n}", "update tally set n = ?", (n,))
            for n in (-100, 0, MOST, LEAST)
        ),
        Damage("no counts", "delete from tally"),
        Damage(
            "count of a state that there is not",
            "insert into tally values (1, 'zombie', 'main', 5)",
        ),
        Damage(
            "count of a state that is no text", f"insert into tally values (1, {text}, 'main', 5)"
        ),
        Damage(
            "count of a lane that is no text", f"insert into tally values (1, 'ready', {text}, 5)"
        ),
        Damage("count of no queue", "insert into tally values (77, 'ready', 'main', 5)"),
        Damage(
            "counts that are too much together",
            f"insert into tally values (1, 'waiting', 'main', {MOST});"
            f"insert into tally values (1, 'scheduled', 'main', {MOST});"
            "update queue set max_depth = 5",
        ),
        Damage(
            "a limit and counts at their end",
            f"update tally set n = {MOST}; update queue set max_depth = 5",
        ),
        *(
            Damage(f"limit of {n}", "update queue set max_depth = ?", (n,))
            for n in (-1, 0, LEAST, MOST)
        ),
        Damage("paused is -5", "update queue set paused = -5", fate="ready", healthy="ready"),
        Damage(
            "no queues",
            "pragma foreign_keys = off; delete from queue",
            fate="ready",
            healthy="ready",
        ),
    ]


def _other_tables() -> list[Damage]:
    text, half = "cast(x'ff' as text)", "cast(x'eda080' as text)"
    queue = "insert into queue (id, name) values (50, {}); update job set queue = 50 where seq = 1"
    return [
        Damage("declaration is no text", f"update queue set declared = {text}"),
        *(
            Damage(f"another queue's name is {name}", f"insert into queue (name) values ({sql})")
            for name, sql in {
                "no UTF-8": text,
                "a surrogate": half,
                "NUL": "cast(x'00' as text)",
                "nothing": "''",
                "an escape sequence": "char(27) || '[2J' || char(10) || 'forged'",
                "300 kB": "replace(hex(zeroblob(150000)), '0', 'x')",
            }.items()
        ),
        Damage("its queue's name is no text", queue.format(text), fate="ready"),
        Damage("its queue's name is a surrogate", queue.format(half), fate="ready"),
        Damage("its queue's id is negative", queue.format("'neg'").replace("50", "-5")),
        Damage(
            "rates beyond 64 bits",
            f"insert into traffic values (1, {MOST}, {MOST}, {MOST}), (1, {MOST - 1}, {MOST}, 1)",
        ),
        Damage("rates of long ago", f"insert into traffic values (1, {LEAST}, {MOST}, {MOST})"),
        Damage("negative rates", f"insert into traffic values (1, {MOST}, -5, -5)"),
        Damage("boot is no text", f"update meta set value = {text}"),
        Damage("boot is gone", "delete from meta"),
        Damage("worker is no text", f"insert into worker values ({text}, {MOST}, 5, -1)"),
        Damage("worker of the future", f"insert into worker values ('w', -1, -1, {MOST})"),
        Damage(
            "purged id is no text", f"insert into purged values ({text}, -1, {text}, {text}, -1)"
        ),
        Damage(
            "purged at the beginning", f"insert into purged values ('x', -1, null, '', {LEAST})"
        ),
    ]


_HOSTILE = "\x1b[2J\r\nforged"
REPORTS: dict[str, tuple[bytes, bool]] = {
    **{name: (data, False) for name, data in _CELLS.items()},
    "of wrong types": (b'{"worker":"w","host":"h","pid":"x"}', False),
    "of escape sequences": (
        json.dumps(
        {
            "worker": _HOSTILE, "host": _HOSTILE, "pid": -5, "queues": [_HOSTILE], "lane": "main",
            "concurrency": -5, "tasks": [_HOSTILE], "started_at": -(2**62), "version": _HOSTILE,
            "running": 10**18, "restarts": -1, "healthy": True, "seen_at": 2**62,
        }
        ).encode(),
        True,
    ),
}  # fmt: skip
"""What workers said of themselves, and whether that can be read."""


def _keys() -> list[Damage]:
    def key(
        name: str, holder: str, until: int, orphan: int, predecessor: str, since: int = 0
    ) -> str:
        return (
            f"update job set unique_key = {name} where seq = 1;"
            f"insert into unique_key values "
            f"({name}, {holder}, {until}, {orphan}, {predecessor}, {since});"
        )

    me, text = "(select id from job where seq = 1)", "cast(x'ff' as text)"
    cycle = key("'k'", me, 0, 0, "2") + (
        "update job set unique_key = 'l' where seq = 2;"
        "insert into unique_key values ('l', (select id from job where seq = 2), 0, 0, 1, 0);"
    )
    return [
        Damage("waits for itself", key("'k'", me, 0, 0, "1")),
        Damage("two wait for each other, and are ready", cycle),
        Damage(
            "waits for one that waits for it",
            cycle + "update job set state = 'waiting' where seq = 1",
        ),
        Damage("holder is no text", key("'k'", text, MOST, 5, "999")),
        Damage("key is no text", key(text, me, MOST, 0, "2")),
        Damage("key has a NUL", key("cast(x'6b006b' as text)", me, MOST, 0, "2")),
        Damage("predecessor is negative", key("'k'", me, LEAST, -1, "-1")),
        Damage("holder is not there", key("'k'", "'nobody'", 0, 0, "null")),
        Damage("key of nobody", f"insert into unique_key values ({text}, {text}, -5, 1, null, 0)"),
        *(
            Damage(f"first of the holders at {since}", key("'k'", me, 0, 0, "null", since))
            for since in (LEAST, -1, MOST)
        ),
        *(
            Damage(
                f"idempotency key {name} of {job} until {until}",
                f"insert into idempotency_key values ({name}, {job}, {job}, {until})",
            )
            for name, job, until in (
                (text, text, MOST),
                ("'k'", text, LEAST),
                ("cast(x'6b006b' as text)", "''", -5),
                ("'k'", "replace(hex(zeroblob(150000)), '0', 'x')", MOST),
            )
        ),
    ]


KEYS = _keys()
DAMAGE = [
    *(*_cells(), *_payloads(), *_numbers(), *_states(), *_leases()),
    *(*_counts(), *_other_tables(), *KEYS),
]

CLOSED: dict[str, tuple[str, str]] = {
    "schema of the future": ("pragma user_version = 99", "migrated by a newer Backline"),
    "schema of the far future": (
        "pragma user_version = 2147483647",
        "migrated by a newer Backline",
    ),
    "schema 0 with our tables": ("pragma user_version = 0", "Restore a backup"),
    "negative schema": ("pragma user_version = -5", "Restore a backup"),
    "another program's": ("pragma application_id = 5", "of another program: name another file"),
    "nobody's": ("pragma application_id = 0", "of another program: name another file"),
}
"""Files that are not opened at all: the statement, and what the refusal says."""

STRICT = {
    "payload": "x'ff'",
    "attempt": "'x'",
    "failures": "1.5",
    "due": "'tomorrow'",
    "task": "x'00'",
    "queue": "'default'",
    "state": "'zombie'",
    "lane": "'x'",
    "id": "null",
    "terms": "null",
    "errors": "null",
    "cancel": "'yes'",
}
"""What SQLite itself refuses to write in a column."""
