"""The memory store keeps the contract."""

import pytest

from backline.stores.memory import MemoryStore
from backline.testing.conformance import MakeStore, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda clock: MemoryStore(clock=clock)
