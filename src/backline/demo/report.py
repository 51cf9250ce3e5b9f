"""The story in words and a table; every sentence is made from what was measured."""

import textwrap
from collections.abc import Iterator
from typing import Final

from backline.demo.figures import Figures, Kill, Repair, Uploads
from backline.demo.thumbnails import SIZES
from backline.job import SECOND, Micros

_LABEL: Final = 30
_COLUMN: Final = 22
_CLEARLY: Final = 1.2
"""Times that differ by less than this factor are not called sooner or later."""


def millis(time: Micros) -> str:
    """A time as the table shows it: "48 ms", "6,210 ms"."""
    return f"{time / 1_000:,.0f} ms" if time >= 10_000 else f"{time / 1_000:.1f} ms"


def seconds(time: Micros) -> str:
    """A time as the sentences show it: "6.2 s"."""
    return f"{time / SECOND:.1f} s" if time >= SECOND else f"{time / SECOND:.2f} s"


def text(figures: Figures) -> str:
    """The whole report, ready to print."""
    return "\n".join(
        [
            *_uploads(figures),
            "",
            *_kill(figures.kill),
            "",
            *_repair(figures.repair),
            "",
            *_verdict(figures),
            "",
        ]
    )


def _uploads(figures: Figures) -> Iterator[str]:
    inline, queued = figures.inline, figures.queued
    yield (
        f"1. {len(queued.answers)} uploads by {queued.users} users at once, photographs of "
        f"{figures.megapixels:.0f} megapixels,"
    )
    yield f"   {len(SIZES)} thumbnails each ({figures.machine})"
    yield ""
    yield _row("thumbnails are made", inline.way, queued.way)
    yield "   " + "-" * (_LABEL + 2 * _COLUMN)
    for percent in (50, 99):
        times = (millis(side.response(percent)) for side in (inline, queued))
        yield _row(f"answer to an upload, p{percent}", *times)
    yield _row("errors", *(f"{side.failed} of {len(side.answers)}" for side in (inline, queued)))
    yield _row("uploads taken a second", *(f"{side.rate:,.0f}" for side in (inline, queued)))
    yield _row("profile look-up, p50", *(millis(side.look_up(50)) for side in (inline, queued)))
    yield _row("thumbnails all made after", *(_all_made(side) for side in (inline, queued)))
    yield ""
    yield from _wrapped(
        _answer_sentence(inline.response(50), queued.response(50)),
        *_work_sentence(inline, queued),
        "The profile look-up goes through no queue in either case: its answer is all that the "
        "user came for, so it belongs in the request.",
    )


def _all_made(side: Uploads) -> str:
    return seconds(max(side.finished)) if side.finished else "-"


def _answer_sentence(inline: Micros, queued: Micros) -> str:
    factor = inline / max(queued, 1)
    if factor >= _CLEARLY:
        return f"Through the queue the typical answer came {_times(factor)} sooner."
    if factor <= 1 / _CLEARLY:
        return f"Through the queue the typical answer came {_times(1 / factor)} later in this run."
    return "In this run the typical answer took as long either way."


def _work_sentence(inline: Uploads, queued: Uploads) -> Iterator[str]:
    if not inline.finished or not queued.finished:
        return
    factor = max(queued.finished) / max(*inline.finished, 1)
    if 1 / _CLEARLY < factor < _CLEARLY:
        yield "The thumbnails took as long either way:"
    elif factor > 1:
        yield f"All thumbnails took {_times(factor)} as long through the queue:"
    else:
        yield f"All thumbnails took {_times(1 / factor)} as long in the request:"
    yield "a queue does not make slow work faster, it takes it out of the way of the answer."


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor >= 10 else f"{factor:.1f} times"


def _kill(kill: Kill) -> Iterator[str]:
    yield f"2. A worker killed with SIGKILL while it worked on {kill.jobs} uploads"
    yield ""
    yield _row("jobs accepted", f"{kill.jobs}")
    yield _row("jobs succeeded", f"{kill.succeeded}")
    yield _row("jobs lost", f"{kill.lost}")
    yield _row("thumbnails", f"{kill.thumbnails} of {kill.jobs * len(SIZES)}")
    yield _row("leases handed out for them", f"{kill.leases}")
    for one in kill.interrupted:
        yield _row("interrupted job running again", f"after {millis(one.running_again)}")
    yield ""
    yield from _wrapped(
        "The supervisor saw its worker die, gave the job it was running back to the queue and "
        "started another worker. A job may run twice, so a task is written to be repeated."
    )


def _repair(repair: Repair) -> Iterator[str]:
    yield "3. A corrupt photograph"
    yield ""
    yield _row("failed attempts", f"{repair.failures}")
    if repair.dead_at is not None:
        yield _row("dead after", seconds(repair.dead_at))
    yield _row("its reason", repair.reason, width=0)
    if repair.redriven_at is not None and repair.succeeded_at is not None:
        yield _row(
            "repaired, redriven, succeeded", millis(repair.succeeded_at - repair.redriven_at)
        )
    yield _row("thumbnails", f"{repair.thumbnails} of {len(SIZES)}")
    yield ""
    yield from _wrapped(
        "It was tried as often as its task allows, then parked with its reason in the "
        "dead-letter queue, in nobody's way. The file was replaced and the same job redriven."
    )


def _verdict(figures: Figures) -> Iterator[str]:
    problems = figures.problems()
    if not problems:
        yield "Every job that was accepted has been done."
    for problem in problems:
        yield f"NOT AS IT SHOULD BE: {problem}"


def _row(label: str, *cells: str, width: int = _COLUMN) -> str:
    return f"   {label:<{_LABEL}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _wrapped(*sentences: str) -> Iterator[str]:
    yield from (f"   {line}" for line in textwrap.wrap(" ".join(sentences), width=84))
