"""What idempotency keys stand for, as the memory store remembers it."""

from heapq import heappop, heappush
from typing import NamedTuple

from backline.job import IDEMPOTENCY, Enqueued, JobId, JobRequest, Micros


class _Given(NamedTuple):
    """The enqueue that a key first came with."""

    job: JobId
    fingerprint: str
    until: Micros


class IdempotencyKeys:
    """Keys by name, and by when they are forgotten. `now` is wall time."""

    def __init__(self) -> None:
        self._given: dict[str, _Given] = {}
        self._forgetting: list[tuple[Micros, str]] = []

    def answer(self, name: str, request: JobRequest, now: Micros) -> Enqueued | None:
        """The answer for a job whose key was given before; None: it was not."""
        given = self._given.get(name)
        if given is None or given.until <= now:
            return None
        mismatch = given.fingerprint != request.fingerprint
        return Enqueued(given.job, added=False, mismatch=mismatch)

    def remember(self, name: str, request: JobRequest, answer: Enqueued, now: Micros) -> None:
        """From now on the key of a job stands for this answer."""
        if answer.conflict:
            return
        until = now + IDEMPOTENCY
        self._given[name] = _Given(answer.id, request.fingerprint, until)
        heappush(self._forgetting, (until, name))

    def forget(self, limit: int, now: Micros) -> int:
        """Drop keys whose time is over, the longest over first; how many."""
        count = 0
        while count < limit and self._forgetting and self._forgetting[0][0] <= now:
            until, name = heappop(self._forgetting)
            if self._given[name].until == until:  # or it was given anew
                del self._given[name]
                count += 1
        return count
