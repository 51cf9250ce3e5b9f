"""`assert_idempotent` of tasks with steps: a crash after each step, and in each run."""

from collections.abc import Iterator

import pytest

from backline import App, JobContext, Snooze, current_step
from backline.testing import assert_idempotent


@pytest.fixture
def app() -> Iterator[App]:
    app = App("memory://")
    yield app
    app.close()


class Bank:
    """Charges once a key; without one, each time."""

    def __init__(self) -> None:
        self.charges: list[tuple[str, int]] = []

    async def charge(self, amount: int) -> int:
        return self._once(current_step().name, amount)

    async def charge_blindly(self, amount: int) -> int:
        self.charges.append(("", amount))
        return amount

    def _once(self, key: str, amount: int) -> int:
        if (key, amount) not in self.charges:
            self.charges.append((key, amount))
        return amount


def test_steps_that_hand_out_their_key_pass(app: App) -> None:
    bank = Bank()

    @app.task(name="order")
    async def order(job: JobContext, amount: int) -> int:
        paid = await job.step("charge", bank.charge, amount)
        await job.sleep("3d")
        fee = await job.step("fee", bank.charge, 1)
        return paid + fee

    assert_idempotent(order, 5, state=lambda: bank.charges, reset=bank.charges.clear)
    assert bank.charges == [("charge", 5), ("fee", 1)]


def test_a_step_is_no_transaction_with_the_outside(app: App) -> None:
    bank = Bank()

    @app.task(name="order")
    async def order(job: JobContext, amount: int) -> None:
        await job.step("charge", bank.charge_blindly, amount)

    with pytest.raises(AssertionError) as raised:
        assert_idempotent(order, 5, state=lambda: bank.charges, reset=bank.charges.clear)
    assert "a crash when a step was done, right before it was recorded" in str(raised.value)
    assert "right after a step was recorded" not in str(raised.value)


def test_a_crash_in_the_run_after_a_sleep_is_played(app: App) -> None:
    bank = Bank()

    @app.task(name="order")
    async def order(job: JobContext) -> None:
        await job.sleep("1h")
        bank.charges.append(("", 1))
        bank.charges.append(("", 2))

    with pytest.raises(AssertionError) as raised:
        assert_idempotent(order, state=lambda: bank.charges, reset=bank.charges.clear)
    assert 'bank.charges.append(("", 1))' in str(raised.value)


def test_a_crash_around_a_wait_is_played_with_and_without_the_event(app: App) -> None:
    bank = Bank()

    @app.task(name="order")
    async def order(job: JobContext, carefully: bool) -> None:
        fee = bank.charge if carefully else bank.charge_blindly
        try:
            cents = await job.wait_for("paid", int, key="7", timeout="3d")
        except TimeoutError:
            cents = 1
        await job.step("fee", fee, cents)

    for events, paid in (([("paid", "7", 5)], 5), ([], 1)):
        assert_idempotent(
            order, carefully=True, state=lambda: bank.charges, reset=bank.charges.clear,
            events=events,
        )  # fmt: skip
        assert bank.charges == [("fee", paid)]
    with pytest.raises(AssertionError, match="right before it was recorded"):
        assert_idempotent(
            order, carefully=False, state=lambda: bank.charges, reset=bank.charges.clear
        )


def test_a_crash_in_the_run_before_a_snooze_is_played(app: App) -> None:
    bank = Bank()

    @app.task(name="order")
    async def order(job: JobContext) -> None:
        if len(bank.charges) < 2:
            bank.charges.append(("", 1))
            if job.attempt == 1:
                raise Snooze("1h")

    with pytest.raises(AssertionError, match="Broken by"):
        assert_idempotent(order, state=lambda: bank.charges, reset=bank.charges.clear)
