"""Working until there is nothing to do, and apart from the real store: for scripts and tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from backline.app.home import always
from backline.app.immediate import Immediate
from backline.app.publishing import Publishing
from backline.app.working import drain
from backline.clock import Clock
from backline.store import Store
from backline.stores.memory import MemoryStore


class Draining(Publishing):
    """The part of an app that works without a worker process."""

    async def adrain(self, *, scheduled: bool = False) -> int:
        """Work in this process until no job is ready; returns how many runs that took.

        With `scheduled`, until none is scheduled either, waiting for their time. What is
        committed in the outboxes is relayed first, and again after the runs.
        """
        return await self._home.run(lambda queue: self._drain(queue.store, scheduled=scheduled))

    def drain(self, *, scheduled: bool = False) -> int:
        """Work in this process until no job is ready; returns how many runs that took.

        With `scheduled`, until none is scheduled either, waiting for their time.
        """
        return self.wait(lambda: self.adrain(scheduled=scheduled), "app.adrain")

    @contextmanager
    def immediate(self, *, raising: bool = True) -> Iterator[None]:
        """Run jobs at once where they are enqueued, in a memory store of their own.

        For tests. Jobs go through the real worker and the real rules. What a job raised is
        raised by the enqueue unless `raising` is False; its handle tells of it either way.
        What is scheduled, a retry too, stays so; `drain(scheduled=True)` waits for it. A job
        that was enqueued with `within=` runs once its transaction has committed and a handle
        or another enqueue looks; its handle alone tells what it raised.
        """
        with self.isolated():
            self._immediate = Immediate(self._parts, raising=raising)
            yield

    @contextmanager
    def isolated(self, *, clock: Clock | None = None) -> Iterator[None]:
        """Keep jobs in an empty memory store of its own while inside.

        For tests: nothing gets into the store of `url`. Jobs wait for `drain`, or for a
        `worker` that is started inside. A process that is forked inside can use it no more
        (StoreRefused). Outboxes are neither relayed nor written to: `within=` takes a
        connection to any SQLite database, and the job is there once it has committed. With
        `clock`, the app goes by that one while inside: virtual time.
        """
        outside = self._home, self._immediate, self.clock
        self.clock = self._parts.clock = clock or self.clock
        store = MemoryStore(clock=self.clock)
        self._home, self._immediate = self._make_home(always(store)), None
        try:
            with self._transacting.isolated(self.clock):
                yield
        finally:
            inside = self._home
            self._home, self._immediate, self.clock = outside
            self._parts.clock = self.clock
            inside.abandon()

    async def _drain(self, store: Store, *, scheduled: bool) -> int:
        await self._transacting.relay_all(store)
        runs = await drain(self._parts, store, scheduled=scheduled)
        while await self._transacting.relay_all(store):
            runs += await drain(self._parts, store, scheduled=scheduled)
        return runs
