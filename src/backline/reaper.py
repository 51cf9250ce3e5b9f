"""The reaper: settles leases that ran out, and moves jobs whose time has come.

Every supervisor and every embedded worker runs one; any number of them on one store do no
harm. It needs no user code: all it takes to settle a lost run is in the lease.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from msgspec.structs import replace

from backline import policy
from backline.clock import Clock
from backline.display import span
from backline.duty import Duty
from backline.faults import fault
from backline.job import SECOND, Ack, Acked, AttemptError, HeldLease, Micros, WorkerName
from backline.policy import Lost
from backline.store import Store

log = logging.getLogger(__name__)

Bite: TypeAlias = Callable[[int], Awaitable[int]]

OFTEN: Final[Micros] = SECOND // 2
"""How often leases that are over are looked for, on average."""
REGULARLY: Final[Micros] = SECOND
"""How often due jobs and expired ones are; workers promote due jobs of their queues too."""
SELDOM: Final[Micros] = 10 * SECOND
"""How often finished jobs past their `keep` are, on average."""
BITE: Final = 500
"""At most this many jobs a call, so that no other caller of the store waits long."""
BREATH: Final[Micros] = SECOND // 100
"""Between two bites, when there is more to do."""
STEP: Final[Micros] = SECOND
"""Two clocks that drift apart by more than this between two rounds: one of them jumped."""


class Reaper:
    """Looks after what no worker looks after.

    `name` is who settles, and nobody else; `ttl` the lease of the workers around. Leases that
    are over are settled as lost, guarded by `if_overdue`: a late extend wins or loses cleanly.

    Every lease looks over, though its worker may be as alive as we are, after a jump of the
    tick (as seen from the event loop's clock), after an outage of the store, and after this
    machine stood still. Then nothing is settled for the time of one lease, and the workers
    get to extend.
    """

    def __init__(
        self, store: Store, clock: Clock, name: WorkerName, ttl: Micros = 30 * SECOND
    ) -> None:
        self.name: Final = name
        self._store = store
        self._clock = clock
        self._ttl = ttl
        self._calls = 0
        self._hold_until: Micros | None = None
        self._seen: tuple[Micros, Micros] | None = None
        self._answered_at: Micros | None = None
        self._duties = (
            Duty("settling leases that are over", self._settle_round, clock),
            Duty("promoting due jobs", self._repeat(store.promote, REGULARLY), clock),
            Duty("expiring jobs", self._repeat(store.expire, REGULARLY), clock),
            Duty("purging finished jobs", self._repeat(store.sweep, SELDOM), clock),
        )

    @property
    def failing(self) -> list[str]:
        """The duties whose last round failed; empty when all is well."""
        return [duty.name for duty in self._duties if duty.failures]

    async def run(self) -> None:
        """Do every duty until cancelled."""
        async with asyncio.TaskGroup() as group:
            for duty in self._duties:
                group.create_task(duty.run(), name=duty.name)

    async def settle_overdue(self) -> int:
        """Settle a bite of leases that are over; returns how many were. Raises StoreError."""
        overdue = await self._store.overdue(BITE)
        self._watch_store()
        if not overdue or self._holding():
            return 0
        self._calls += 1
        acks = [self._ack(lease) for lease in overdue]
        fault("reaper.before_settle")
        answer = await self._store.exchange(self.name, self._calls, acks, {}, self._ttl)
        self._log(overdue, answer.acks)
        return len(overdue)

    def _ack(self, lease: HeldLease) -> Ack:
        message = f"worker {lease.worker} let its lease run out"
        error = AttemptError(attempt=lease.attempt, kind="lost", message=message)
        return replace(policy.settle(lease, Lost(error), self._clock.rng), if_overdue=True)

    def _log(self, overdue: Sequence[HeldLease], acked: Sequence[Acked]) -> None:
        for lease, answer in zip(overdue, acked, strict=True):
            if answer is Acked.APPLIED:
                log.warning(
                    "job %s (%s, attempt %d) was lost: worker %s let its lease run out",
                    lease.id,
                    lease.task,
                    lease.attempt,
                    lease.worker,
                )

    async def _settle_round(self) -> Micros:
        self._watch_time()
        settled = await self.settle_overdue()
        return BREATH if settled == BITE else self._about(OFTEN)

    def _watch_time(self) -> None:
        """Hold if the tick jumped since the last round."""
        now = (self._clock.tick(), _loop_time())
        if self._seen is None:
            self._answered_at = now[0]  # an outage may have begun before us
        else:
            ticked, passed = (new - old for new, old in zip(now, self._seen, strict=True))
            if abs(ticked - passed) > STEP:
                self._hold(f"the clock of leases moved {span(ticked)} in {span(passed)}")
        self._seen = now

    def _watch_store(self) -> None:
        """The store answered: hold if for long it had not, to us and so maybe to nobody."""
        now, before = self._clock.tick(), self._answered_at
        self._answered_at = now
        if before is not None and now - before > max(STEP, self._ttl // 2):
            self._hold(f"the store was not heard of for {span(now - before)}")

    def _hold(self, why: str) -> None:
        self._hold_until = self._clock.tick() + self._ttl
        log.warning("%s: no lease is settled for %s", why, span(self._ttl))

    def _holding(self) -> bool:
        if self._hold_until is not None and self._clock.tick() >= self._hold_until:
            self._hold_until = None
        return self._hold_until is not None

    def _repeat(self, bite: Bite, every: Micros) -> Callable[[], Awaitable[Micros]]:
        async def round_() -> Micros:
            return BREATH if await bite(BITE) >= BITE else self._about(every)

        return round_

    def _about(self, every: Micros) -> Micros:
        """Many reapers on one store must not come all at once."""
        return round(every * self._clock.rng.uniform(0.5, 1.5))


def _loop_time() -> Micros:
    return round(asyncio.get_running_loop().time() * SECOND)
