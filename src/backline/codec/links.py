"""Arguments that are not known yet: the results of other jobs.

In a payload the place of one is held by `{"$result": id}`, that of several by
`{"$results": [ids]}`. The worker puts in what came with the lease before it decodes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, json

from backline.job import JobId

_SPLIT: Final = json.Decoder(tuple[list[Raw], dict[str, Raw]])
MARK: Final = b'{"$result'
"""What a payload without it has no such argument."""
_NULL: Final = Raw(b"null")


_NAMES: Final = {"one": "$result", "many": "$results"}


class _Marker(msgspec.Struct, forbid_unknown_fields=True, rename=_NAMES):
    """What holds the place of an argument."""

    one: JobId | None = None
    many: list[JobId] | None = None


_MARKER: Final = json.Decoder(_Marker)


class Result:
    """Stands for what a job will have returned; `job_id` is "" for the job before this one."""

    __slots__ = ("job_id",)

    def __init__(self, job_id: JobId = "") -> None:
        self.job_id = job_id

    def __repr__(self) -> str:
        return f"result_of({self.job_id!r})" if self.job_id else "previous"


def results_in(values: Iterable[object]) -> list[JobId]:
    """The jobs whose results are among some arguments, each once."""
    return list(dict.fromkeys(value.job_id for value in values if isinstance(value, Result)))


def renamed(payload: Raw, before: JobId | list[JobId]) -> Raw:
    """The payload with the job (or jobs) before this one named."""
    one = {"$results": before} if isinstance(before, list) else {"$result": before}
    marker = Raw(json.encode(one))
    return _replaced(payload, lambda found: marker if found.one == "" else None)


def filled(payload: Raw | bytes, results: Mapping[JobId, Raw]) -> Raw | bytes:
    """The payload with the results in it. What is no payload is left as it is."""

    def fill(found: _Marker) -> Raw | None:
        if found.many is not None:
            parts = b",".join(bytes(results.get(job_id, _NULL)) for job_id in found.many)
            return Raw(b"[" + parts + b"]")
        return results.get(found.one or "")

    try:
        return _replaced(payload, fill)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return payload  # the task's decoder says what is wrong with it


def _replaced(payload: Raw | bytes, put: Callable[[_Marker], Raw | None]) -> Raw:
    def one(value: Raw) -> Raw:
        if not bytes(value).startswith(MARK):
            return value
        try:
            found = _MARKER.decode(value)
        except msgspec.MsgspecError:
            return value  # somebody's own data
        return put(found) or value

    args, kwargs = _SPLIT.decode(payload)
    whole: Any = ([one(arg) for arg in args], {name: one(arg) for name, arg in kwargs.items()})
    return Raw(json.encode(whole))
