"""Job ids as people give them: whole, cut in the middle, or only as far as they are unique."""

import re
import sys
from collections.abc import Sequence
from typing import Final

import click

from backline.cli.common import ExitCode, Failure
from backline.cli.remedies import command
from backline.display import ELLIPSIS, shown
from backline.job import JobId
from backline.store import Filter, Store

_FLOW: Final = re.compile(r"[fm]-.")
_HEX: Final = re.compile(r"[0-9a-f]+")
_DIGITS: Final = 32
_LOOKED_AT: Final = 2_000
"""So many jobs made in the same moment are compared with the end of a cut id."""
_SHOWN: Final = 4


def is_flow(given: str) -> bool:
    """Whether an id is that of a flow; no id of a job is."""
    return _FLOW.match(given.strip().lower()) is not None


def flow_id(given: str) -> JobId:
    """The id of a flow, which is not cut."""
    return given.strip().lower()


async def resolve(store: Store, given: str) -> JobId:
    """The id of the one job that `given` means.

    A whole id, its beginning, or its beginning and end with dots between. Costs one page of
    `find`. Raises Failure if it means no job, or several.
    """
    if is_flow(given):
        raise Failure(
            f"{shown(given)} is the id of a flow, not of a job",
            fix=command(f"flow {given.strip()}"),
            code=ExitCode.USAGE,
        )
    head, _, tail = given.strip().lower().replace("...", ELLIPSIS).partition(ELLIPSIS)
    digits = head.replace("-", "")
    if not _HEX.fullmatch(digits) or len(digits) > _DIGITS or (tail and not _HEX.fullmatch(tail)):
        raise Failure(f"{shown(given)} is no job id", fix=command("jobs"), code=ExitCode.USAGE)
    if len(digits) == _DIGITS:
        return _canonical(int(digits, 16))
    first = int(digits.ljust(_DIGITS, "0"), 16)
    before = None if first == 0 else _canonical(first - 1)
    limit = _LOOKED_AT if tail else _SHOWN + 1
    page = await store.find(Filter(), limit=limit, after=before, oldest_first=True)
    found = [
        job.id
        for job in page.jobs
        if job.id.replace("-", "").startswith(digits) and job.id.endswith(tail)
    ]
    if not found:
        raise Failure(f"no job has an id like {given}", fix=command("jobs"))
    if len(found) > 1:
        some = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        raise Failure(f"{given} may be any of {some}", fix="give more of the id")
    return found[0]


async def resolve_all(store: Store, given: Sequence[str]) -> list[JobId]:
    """The ids of several jobs, in order, each once; `-` reads them from standard input."""
    words = [word for item in given for word in (_from_stdin() if item == "-" else [item])]
    return list(dict.fromkeys([await resolve(store, word) for word in words]))


def _from_stdin() -> list[str]:
    try:
        return sys.stdin.read().split()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is no text: {error}") from None


def _canonical(number: int) -> JobId:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
