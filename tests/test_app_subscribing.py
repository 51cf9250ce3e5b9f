"""What the store has of the subscriptions that stand in code, with two versions of the code."""

from contextlib import AsyncExitStack

import pytest
from tests import deploys
from tests.deploys import rounds, worker

from backline import App
from backline.app.subscribing import drop_subscription
from backline.fanout import SubscriptionChange
from backline.stores.memory import MemoryStore


class Deploy(deploys.Deploy):
    """Versions of the code of the task `mail`, and what it is subscribed to."""

    def version(self, *patterns: str, name: str = "mail") -> App:
        app = App(store=self.store, clock=self.clock)

        @app.task(name=name)
        def task(payload: object) -> None: ...

        if patterns:
            app.on(*patterns)(task)
        return app

    async def heard(self) -> dict[str, tuple[str, ...]]:
        page = await self.store.subscriptions(limit=9)
        return {each.name: each.spec.patterns for each in page.subscriptions if each.spec}


@pytest.fixture
def deploy() -> Deploy:
    return Deploy()


def test_the_worker_that_started_last_has_the_say_until_it_is_gone(deploy: Deploy) -> None:
    async def main() -> None:
        async with AsyncExitStack() as old, AsyncExitStack() as new:
            await worker(old, deploy.version("a"))
            assert await deploy.heard() == {"mail": ("a",)}
            await worker(new, deploy.version("a", "b"))
            assert await deploy.heard() == {"mail": ("a", "b")}
            before = await deploy.store.subscriptions(limit=9)
            await rounds(5)
            assert await deploy.store.subscriptions(limit=9) == before, "nobody undoes it"
            await new.aclose()  # rolled back
            await rounds()
            assert await deploy.heard() == {"mail": ("a",)}
            await worker(new, deploy.version())
            assert await deploy.heard() == {}, "the task stays, and subscribes no more"

    deploy.run(main)


def test_one_that_is_gone_with_its_task_stays_until_it_is_dropped(deploy: Deploy) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await worker(stack, deploy.version("a"))
        async with AsyncExitStack() as stack:
            await worker(stack, deploy.version("b", name="crm"))
            await rounds()
            assert await deploy.heard() == {"mail": ("a",), "crm": ("b",)}
            assert await drop_subscription(deploy.store, "mail")
            assert not await drop_subscription(deploy.store, "mail")
            assert await drop_subscription(deploy.store, "crm")
            await rounds()
            assert await deploy.heard() == {"crm": ("b",)}, "it stands in code"

    deploy.run(main)


def test_a_process_without_workers_undoes_nothing(deploy: Deploy) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await deploy.version("alone").aopen()
            assert await deploy.heard() == {"mail": ("alone",)}, "nobody knows better"
            await worker(stack, deploy.version("a"))
            await deploy.version("b").aopen()
            await deploy.version().aopen()
            assert await deploy.heard() == {"mail": ("a",)}
            await deploy.version("a").aopen()

    deploy.run(main)


def test_who_is_overtaken_looks_again(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes between the look and the change."""
    subscribe, others = MemoryStore.subscribe, [None]

    async def late(self: MemoryStore, changes: list[SubscriptionChange]) -> list[bool]:
        if others:
            others.pop()
            await subscribe(self, [SubscriptionChange("mail", 0, changes[0].spec)])
        return await subscribe(self, changes)

    monkeypatch.setattr(MemoryStore, "subscribe", late)

    async def main() -> None:
        await deploy.version("a").aopen()
        assert await deploy.heard() == {"mail": ("a",)}
        assert not others

    deploy.run(main)
