"""The failure of `assert_idempotent`, in words."""

import difflib
import pprint
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from backline.display import clipped
from backline.testing.idempotence.stage import History

_WIDTH: Final = 88
_MOST_DIFF: Final = 4_000
_MOST_OTHERS: Final = 10
_HELPS: Final[tuple[str, ...]] = (
    "give the outside `job.id` as its idempotency key: it is the same in every run of the job",
    "insert ... on conflict do nothing, under a key made of the job's id or its arguments",
    "set a value rather than add to it; look whether it is done before doing it",
    "`job.complete(within=connection)`: the effect and the job's completion commit together",
)
_AGAIN: Final = ", and a third"
_HELPS_JOBS: Final = (
    "enqueue follow-ups with an idempotency_key= made of the job's id, or "
    ".using(within=connection) in the transaction that completes the job"
)


class Outcome(NamedTuple):
    """What a history left."""

    history: History
    state: Any

    def agrees_with(self, other: "Outcome") -> bool:
        """Whether nobody outside can tell the two apart."""
        ours, theirs = self.history, other.history
        same = ours.enqueued == theirs.enqueued and ours.failure == theirs.failure
        return same and bool(self.state == other.state)


def failure(name: str, clean: Outcome, broken: Sequence[Outcome], played: int) -> str:
    """Why `name` is not idempotent: the first history of `broken` in full, and the others."""
    first = broken[0]
    count = f"{len(broken)} of {played} histories"
    lines = [
        f"{name} is not idempotent: {count} leave something else than one clean run.",
        "",
        *_story(first),
        "",
        *difference(clean, first),
    ]
    others = list(dict.fromkeys(_title(other) for other in broken[1:]))
    if others:
        lines += ["", "Not right either:"]
        lines += [f"  - {other}" for other in others[:_MOST_OTHERS]]
        if len(others) > _MOST_OTHERS:
            lines.append(f"  - and {len(others) - _MOST_OTHERS} more")
    helps: list[str] = [*_HELPS]
    if any(one.history.enqueued != clean.history.enqueued for one in broken):
        helps.append(_HELPS_JOBS)
    return "\n".join([*lines, "", "What usually helps:", *(f"  - {help_}" for help_ in helps)])


def difference(clean: Outcome, other: Outcome) -> list[str]:
    """What differs, as a diff: - is one clean run, + is the other history."""
    lines: list[str] = []
    if other.history.failure != clean.history.failure:
        lines.append(f"In the end {other.history.failure}.")
    if other.state != clean.state:
        lines.append("What state() returned (- one clean run, + this history):")
        lines += _diff(_printed(clean.state), _printed(other.state))
    if other.history.enqueued != clean.history.enqueued:
        lines.append("The jobs that it enqueued (- one clean run, + this history):")
        lines += _diff(clean.history.enqueued, other.history.enqueued)
    return lines


def _story(outcome: Outcome) -> list[str]:
    """What happened; two deaths in one history are of the same kind, as `_Check` plans them."""
    first, *more = outcome.history.deaths
    title = f"Broken by {first}{_AGAIN if more else ''}"
    lines = [f"{title}:", f"    {first.code}"] if first.code else [f"{title}."]
    times = f" {len(more) + 1} times" if more else ""
    return [*lines, f"The job was then run anew{times}, from its beginning."]


def _title(outcome: Outcome) -> str:
    first, *more = outcome.history.deaths
    title = f"{first}{_AGAIN if more else ''}"
    return f"{title}: {first.code}" if first.code else title


def _printed(state: Any) -> list[str]:
    return pprint.pformat(state, width=_WIDTH).splitlines()


def _diff(before: list[str], after: list[str]) -> list[str]:
    found = list(difflib.unified_diff(before, after, n=2, lineterm=""))[3:]
    if not found:  # two things that look alike
        found = [*(f"-{line}" for line in before), *(f"+{line}" for line in after)]
    return clipped("\n".join(f"  {line}" for line in found), _MOST_DIFF).splitlines()
