"""The invariants of limits per key (I10)."""

from collections.abc import Iterator
from itertools import groupby

from backline.job import Pacing
from backline.testing.simulation.trace import Attempt, Life, Trace


def limits_hold(trace: Trace) -> Iterator[str]:
    """Never more leases of a key than its slots, nor more of them than its rate allows."""
    yield from _slots(trace)
    yield from _rates(trace)


def _slots(trace: Trace) -> Iterator[str]:
    for (queue, key), leased in _by_key(trace, "key"):
        running: list[Attempt] = []
        for life, attempt in leased:
            running = [each for each in running if not _settled(each, attempt.leased.seq)]
            running.append(attempt)
            limits = life.request.limits
            if limits is not None and len(running) > limits.slots:
                yield f"{key!r} of {queue} has {len(running)} leases, and {limits.slots} slots"


def _rates(trace: Trace) -> Iterator[str]:
    for (queue, key), leased in _by_key(trace, "rate_key"):
        ticks: list[int] = []
        pacing = Pacing(0)
        for life, attempt in leased:
            if (limits := life.request.limits) is not None:
                pacing = limits.pacing
                weight = min(limits.weight, pacing.burst)
                ticks += [attempt.leased.tick] * weight
        for first, since in enumerate(ticks):
            for last in range(first, len(ticks)):
                most = pacing.burst + (ticks[last] - since) // pacing.interval
                if last - first + 1 > most:
                    yield f"{key!r} of {queue} started {last - first + 1} times, not {most}"
                    return


def _by_key(
    trace: Trace, field: str
) -> Iterator[tuple[tuple[str, str], list[tuple[Life, Attempt]]]]:
    """The leases of each (queue, key), in their order."""
    found: list[tuple[tuple[str, str], int, Life, Attempt]] = []
    for life in trace.lives.values():
        key: str | None = getattr(life.request.limits, field, None)
        if key is None:
            continue
        for attempt in life.attempts:
            queue = trace.queue_of(life.id, attempt.leased.seq)
            found.append(((queue, key), attempt.leased.seq, life, attempt))
    found.sort(key=lambda entry: entry[:2])
    for name, entries in groupby(found, key=lambda entry: entry[0]):
        yield name, [(life, attempt) for _, _, life, attempt in entries]


def _settled(attempt: Attempt, seq: int) -> bool:
    return attempt.settled is not None and attempt.settled.seq < seq
