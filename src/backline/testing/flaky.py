"""A store that fails as stores do: before the call, after it, slowly, or for one worker."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Final, TypeVar

from backline.errors import StoreFull, StoreUnavailable
from backline.faults import fault
from backline.job import SECOND, Micros
from backline.store import Hint, Store
from backline.testing.process import current_process
from backline.testing.wrapper import StoreWrapper

T = TypeVar("T")

_GROWS: Final = frozenset(
    {"enqueue", "record", "configure", "arrange", "tick", "subscribe", "publish", "report"}
)
"""The calls that a full store refuses; those that drain it go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreFaults:
    """How often each fault strikes a call: rates from 0 (never) to 1 (always)."""

    refused: float = 0.0
    """StoreUnavailable, and nothing was applied."""
    lost: float = 0.0
    """StoreUnavailable, and the call was applied."""
    late: float = 0.0
    """StoreUnavailable at once, and the call is applied some time later, as by a server that
    goes on after its client went away."""
    repeated: float = 0.0
    """The call arrives twice, one right after the other."""
    full: float = 0.0
    """StoreFull, from the calls that would make the store grow."""
    delayed: float = 0.0
    """The request or the reply takes up to `longest_delay`."""
    longest_delay: Micros = SECOND


NO_FAULTS: Final = StoreFaults()


class FlakyStore(StoreWrapper):
    """Passes every call on to `store`, or fails it, as `rng` draws by the rates of `faults`.

    One wrapper stands for one process's way to the store. `cut` is a partition: while it is
    set, no request arrives and no reply comes back. `faults` may be exchanged at any time.
    Delays pass on the running loop, so on a `VirtualLoop` they take no time. A caller whose
    simulated process is killed by the hook of a fault point never hears the answer; one that
    is paused by it goes on from there when it is resumed.
    """

    def __init__(self, store: Store, faults: StoreFaults, rng: random.Random) -> None:
        super().__init__(store)
        self.faults = faults
        self.cut = False
        self.struck: Counter[str] = Counter()
        """How often each fault struck, by its name in `StoreFaults`; also `cut`."""
        self._rng = rng
        self._late: set[asyncio.Task[None]] = set()

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """As the store's own, but nothing comes through while the way is cut.

        `wake` runs in the context of the caller, so what it starts is of the same process.
        """
        context = copy_context()
        return self._store.watch(hints, lambda: None if self.cut else context.run(wake))

    async def _pass(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """One call: there, done, and back."""
        if _stands():
            await _stand()
        if self.faults.delayed:
            await self._travel()
        if self._strikes("late", self.faults.late):
            self._commit_later(name, call)
            raise StoreUnavailable(f"{name}: no answer in time")
        if self._is_cut() or self._strikes("refused", self.faults.refused):
            raise StoreUnavailable(f"{name}: cannot reach the store")
        if name in _GROWS and self._strikes("full", self.faults.full):
            raise StoreFull(f"{name}: the disk is full")
        answer = await self._commit(name, call)
        if self._strikes("repeated", self.faults.repeated):
            answer = await self._commit(name, call)
        if self.faults.delayed:
            await self._travel()
        if self._is_cut() or self._strikes("lost", self.faults.lost):
            raise StoreUnavailable(f"{name}: the reply was lost")
        return answer

    async def _commit(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        fault(f"{name}.before_commit")
        if _stands():
            await _stand()
        answer = await call()
        fault(f"{name}.after_commit")
        if _stands():
            await _stand()
        return answer

    def _commit_later(self, name: str, call: Callable[[], Awaitable[T]]) -> None:
        async def go_on() -> None:
            await asyncio.sleep(self._delay())
            await call()

        task = asyncio.get_running_loop().create_task(
            go_on(),
            name=f"{name}, late",
            context=Context(),  # it is no longer a matter of the calling process
        )
        self._late.add(task)
        task.add_done_callback(self._late.discard, context=Context())

    async def _travel(self) -> None:
        if self._strikes("delayed", self.faults.delayed):
            await asyncio.sleep(self._delay())

    def _delay(self) -> float:
        return self._rng.uniform(0, self.faults.longest_delay) / SECOND

    def _is_cut(self) -> bool:
        self.struck["cut"] += self.cut
        return self.cut

    def _strikes(self, name: str, rate: float) -> bool:
        if not rate:
            return False
        strikes = self._rng.random() < rate
        self.struck[name] += strikes
        return strikes


def _stands() -> bool:
    """The simulated process that calls is dead or paused: a fault point has just made it so."""
    process = current_process()
    return process is not None and (process.paused or not process.alive)


async def _stand() -> None:
    """The dead do not go on; who was paused goes on when it is resumed."""
    process = current_process()
    if process is not None and not process.alive:
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(0)
