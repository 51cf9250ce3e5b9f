"""The contract of a store as tests, for any store.

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda clock: MyStore(tmp_path / "jobs", clock=clock)

Names of tests begin with the invariant they hold (`backline.store.contract` lists them). Time is a
`VirtualClock`; nothing sleeps. For readable failures call, in a conftest.py,
`pytest.register_assert_rewrite("backline.testing.conformance")`.
"""

from backline.testing.conformance.base import Harness, MakeStore
from backline.testing.conformance.debouncing import Debouncing
from backline.testing.conformance.editing import Editing
from backline.testing.conformance.enqueueing import Enqueueing
from backline.testing.conformance.fairness import Fairness
from backline.testing.conformance.fanning import Fanning
from backline.testing.conformance.flowing import Flowing
from backline.testing.conformance.following import Following
from backline.testing.conformance.grouping import Grouping
from backline.testing.conformance.holding import Holding
from backline.testing.conformance.idempotency import Idempotency
from backline.testing.conformance.leasing import Leasing
from backline.testing.conformance.limiting import Limiting
from backline.testing.conformance.looking_behind import LookingBehind, Malformed
from backline.testing.conformance.operating import Operating, Upkeep
from backline.testing.conformance.pacing import Rates
from backline.testing.conformance.reading import Reading, Watching
from backline.testing.conformance.repeating import Repeating
from backline.testing.conformance.replacing import Replacing
from backline.testing.conformance.scheduling import Scheduling
from backline.testing.conformance.settling import Settling
from backline.testing.conformance.sharing import Sharing
from backline.testing.conformance.stepping import Stepping
from backline.testing.conformance.uniqueness import Uniqueness
from backline.testing.conformance.waiting import Waiting


class StoreConformance(
    Enqueueing,
    Uniqueness,
    Replacing,
    Debouncing,
    Idempotency,
    Leasing,
    Settling,
    Holding,
    Upkeep,
    Operating,
    Editing,
    Reading,
    Watching,
    Repeating,
    LookingBehind,
    Sharing,
    Scheduling,
    Limiting,
    Rates,
    Fairness,
    Stepping,
    Waiting,
    Fanning,
    Flowing,
    Following,
    Grouping,
):
    """Every example of the suite, but those with rows that cannot be read: `Malformed`."""


__all__ = ["Harness", "MakeStore", "Malformed", "Reading", "StoreConformance"]
