"""Deliveries: what is posted, when again, and when never again; on virtual time."""

import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from backline import App, AttemptError, ConfigError, Outcome, State
from backline.job import DAY, HOUR, SECOND, JobRecord
from backline.store import Filter
from backline.testing.clock import VirtualClock
from backline.webhooks import TASK, WebhookSettings
from backline.webhooks.addresses import Target
from backline.webhooks.delivery import LONGEST_WAIT, MAX_BODY, SCHEDULE, body, retry_delay, wait
from backline.webhooks.reply import Reply, WebhookFailed

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://example.com/done?t=1"


class Endpoint:
    """Answers as it is told, and keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[Reply | Exception] = []
        self.got: list[tuple[Target, Mapping[str, str], bytes]] = []

    async def __call__(
        self, target: Target, headers: Mapping[str, str], body: bytes, settings: WebhookSettings
    ) -> Reply:
        self.got.append((target, headers, body))
        answer = self.answers.pop(0) if self.answers else Reply(204)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest_asyncio.fixture
async def app(
    clock: VirtualClock, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    monkeypatch.setenv("BACKLINE_WEBHOOK_SECRET", SECRET)
    app = App("memory://", clock=clock)
    app.webhooks()
    assert app._webhooks is not None
    app._webhooks._post = endpoint

    @app.task(name="total", max_attempts=1)
    async def total(amounts: list[int]) -> int:
        if not amounts:
            raise ValueError("nothing to add")
        return sum(amounts)

    yield app
    await app.aclose()


async def enqueue(app: App, *amounts: int) -> Any:
    task = app.registry.get("total")
    assert task is not None
    return await task.using(callback_url=URL, tags=["vip"]).aenqueue(list(amounts))


async def webhook(app: App) -> JobRecord:
    [record] = (await app.store.find(Filter(task=TASK), limit=9)).jobs
    return record


async def test_the_outcome_is_posted_signed_and_once(app: App, endpoint: Endpoint) -> None:
    job = await enqueue(app, 1, 2)
    await app.adrain()
    [(target, headers, content)] = endpoint.got
    record = await webhook(app)
    assert (record.state, bytes(record.result or b"")) == (State.SUCCEEDED, b"204")
    assert target.url == "https://example.com:443/done?t=1"
    assert headers["webhook-id"] == record.id
    assert headers["webhook-timestamp"] == str(app.clock.now() // SECOND)
    assert headers["webhook-signature"].startswith("v1,")
    message = msgspec.json.decode(content)
    assert (message["type"], message["data"]["id"]) == ("job.succeeded", job.id)
    assert (message["data"]["result"], message["data"]["tags"]) == (3, ["vip"])
    assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None
    assert SECRET not in str(await app.store.get([job.id, record.id]))


async def test_a_death_and_a_cancel_are_posted_too(app: App, endpoint: Endpoint) -> None:
    await enqueue(app)
    cancelled = await enqueue(app, 5)
    await app.acancel(cancelled.id)
    await app.adrain()
    told = {m["type"]: m["data"] for m in (msgspec.json.decode(c) for _, _, c in endpoint.got)}
    assert told.keys() == {"job.dead", "job.cancelled"}
    assert told["job.dead"]["error"] == {"kind": "ValueError", "message": "nothing to add"}
    assert "result" not in told["job.dead"]


async def test_the_whole_schedule_and_then_the_dead_letter_queue(
    app: App, endpoint: Endpoint, clock: VirtualClock
) -> None:
    endpoint.answers = [Reply(500), WebhookFailed("example.com was not reached"), Reply(302)]
    endpoint.answers += [Reply(404)] * 9
    await enqueue(app, 1)
    await app.adrain()
    for n, planned in enumerate(SCHEDULE, 1):
        assert len(endpoint.got) == n
        record = await webhook(app)
        assert planned <= record.due - clock.now() <= planned * 1.2
        clock.advance((record.due - clock.now()) / SECOND)
        await app.adrain()
    record = await webhook(app)
    assert (record.state, len(endpoint.got)) == (State.DEAD, 10)
    assert record.errors[2].message == "example.com answered 302, and redirects are not followed"
    assert len({headers["webhook-id"] for _, headers, _ in endpoint.got}) == 1
    assert len({content for _, _, content in endpoint.got}) == 1
    assert len({headers["webhook-timestamp"] for _, headers, _ in endpoint.got}) == 10
    assert len({headers["webhook-signature"] for _, headers, _ in endpoint.got}) == 10


async def test_gone_is_final(app: App, endpoint: Endpoint) -> None:
    endpoint.answers = [Reply(410)]
    await enqueue(app, 1)
    await app.adrain(scheduled=False)
    record = await webhook(app)
    assert record.state is State.DEAD
    assert "410 Gone" in record.errors[-1].message


async def test_retry_after_is_honoured(app: App, endpoint: Endpoint, clock: VirtualClock) -> None:
    endpoint.answers = [Reply(503, "7200")]
    await enqueue(app, 1)
    await app.adrain()
    assert 2 * HOUR <= (await webhook(app)).due - clock.now() <= 2 * HOUR + 2 * SECOND


async def test_secrets_are_read_for_each_delivery_and_rotate(
    app: App, endpoint: Endpoint, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKLINE_WEBHOOK_SECRET")
    await enqueue(app, 1)
    await app.adrain()
    record = await webhook(app)
    assert not endpoint.got
    assert "BACKLINE_WEBHOOK_SECRET" in record.errors[-1].message
    monkeypatch.setenv("BACKLINE_WEBHOOK_SECRET", f"{SECRET} {SECRET}")
    clock.advance("10s")
    await app.adrain()
    assert endpoint.got[0][1]["webhook-signature"].count("v1,") == 2


async def test_a_purged_job_is_told_of_all_the_same(app: App, endpoint: Endpoint) -> None:
    task = app.registry.get("total")
    assert task is not None
    job = await task.using(callback_url=URL, keep=0).aenqueue([4])
    endpoint.answers = [Reply(500)]
    await app.adrain()
    await app.store.purge([job.id])
    assert isinstance(app.clock, VirtualClock)
    app.clock.advance("10s")
    await app.adrain()
    assert msgspec.json.decode(endpoint.got[-1][2])["data"]["result"] == 4


async def test_a_url_that_may_not_be_enqueues_nothing(app: App) -> None:
    task = app.registry.get("total")
    assert task is not None
    for url in ("http://example.com/", "https://127.1/", "https://u:pw@example.com/"):
        with pytest.raises(ConfigError, match="callback_url") as caught:
            await task.using(callback_url=url).aenqueue([1])
        assert "pw" not in str(caught.value)
    assert not (await app.store.find(Filter(), limit=9)).jobs


def outcome(**fields: Any) -> Outcome[Any]:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    values: dict[str, Any] = {
        "id": "7", "task": "t", "queue": "q", "state": State.SUCCEEDED, "attempts": 1,
        "enqueued_at": at, "finished_at": at,
    }  # fmt: skip
    return Outcome(**values | fields)


def test_a_body_is_never_large() -> None:
    large = body(outcome(result="x" * 30_000))
    assert msgspec.json.decode(large)["data"]["result_omitted"] is True
    error = AttemptError(1, "E" * 9_000, "é" * 30_000)
    dead = body(outcome(state=State.DEAD, error=error))
    tags = tuple("\N{SNOWMAN}" * 200 for _ in range(20))
    worst = body(outcome(state=State.DEAD, error=error, tags=tags, task="\N{SNOWMAN}" * 200))
    assert all(len(each) <= MAX_BODY for each in (large, dead, worst))


def test_what_retry_after_says() -> None:
    now = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * SECOND
    assert retry_delay("120", now) == 120 * SECOND
    assert retry_delay("Thu, 01 Jan 2026 01:00:00 GMT", now) == HOUR
    assert retry_delay("Wed, 31 Dec 2025 01:00:00 GMT", now) == 0
    for nonsense in (None, "", "-5", "soon", "1e9", "9" * 40, "²", "Thu, 01 Jan 99999 00:00 GMT"):
        assert retry_delay(nonsense, now) == 0
    rng = random.Random(1)
    assert wait(0, "99999999999", now, rng) <= LONGEST_WAIT + 2 * SECOND
    assert wait(500, None, now, rng) >= DAY
    assert timedelta(microseconds=wait(0, "1", now, rng)) >= timedelta(seconds=5)
