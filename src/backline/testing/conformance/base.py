"""The fixtures of the suite; a store's tests override `make_store`, and `raw` if they can."""

from collections.abc import AsyncIterator, Callable
from typing import ClassVar, TypeAlias

import pytest
import pytest_asyncio

from backline.clock import Clock
from backline.store import Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import BareWorker, assert_adds_up
from backline.testing.raw import RawAccess

MakeStore: TypeAlias = Callable[[Clock], Store]


@pytest.mark.asyncio
class Harness:
    """What the themes of the suite share."""

    checks_sums: ClassVar[bool] = True
    """After every test the counts must be the numbers of the jobs (I11)."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Override: a function that gives a handle, not opened yet, on the clock it is given.

        Within one test each handle must lead to the same jobs if the store's capabilities
        say `between_processes`; no other test may see them.
        """
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    def make_raw(self) -> Callable[[Store], RawAccess]:
        """Override to let the suite look behind the store; else those tests are skipped."""
        pytest.skip("this store has no raw access")

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The time of every handle of the test."""
        return VirtualClock()

    @pytest_asyncio.fixture
    async def store(self, make_store: MakeStore, clock: VirtualClock) -> AsyncIterator[Store]:
        """The store under test, open, without a job."""
        store = make_store(clock)
        await store.open()
        yield store
        if self.checks_sums:
            await assert_adds_up(store)
        await store.close()

    @pytest_asyncio.fixture
    async def other(
        self, make_store: MakeStore, clock: VirtualClock, store: Store
    ) -> AsyncIterator[Store]:
        """A second handle to the jobs of `store`."""
        if not store.capabilities.between_processes:
            pytest.skip("this store has one handle")
        other = make_store(clock)
        await other.open()
        yield other
        await other.close()

    @pytest.fixture
    def raw(self, make_raw: Callable[[Store], RawAccess], store: Store) -> RawAccess:
        """What lies behind `store`."""
        return make_raw(store)

    @pytest.fixture
    def worker(self, store: Store) -> BareWorker:
        """A worker of `store`."""
        return BareWorker(store)
