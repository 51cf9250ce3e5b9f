"""The producing side over a store: admission, duplicates, outages, results; on virtual time."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from msgspec import Raw

from backline.errors import (
    EnqueueError,
    IdempotencyConflict,
    JobNotFound,
    QueueFull,
    ResultTimeout,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UniqueConflict,
)
from backline.job import (
    SECOND,
    Ack,
    Enqueued,
    JobId,
    JobRecord,
    JobRequest,
    Lane,
    OnConflict,
    Refused,
)
from backline.limits import retry_after
from backline.queue import OnFull, Queue
from backline.queue.admission import distinct
from backline.states import State
from backline.store import Call, Hint, QueueSettings
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.flaky import NO_FAULTS, FlakyStore, StoreFaults
from backline.testing.loop import run
from backline.testing.wrapper import StoreWrapper

T = TypeVar("T")
SKIP, REPLACE, RAISE = OnConflict.SKIP, OnConflict.REPLACE, OnConflict.RAISE


class Bench:
    """A queue over a memory store on virtual time."""

    def __init__(self, on_full: OnFull = OnFull.RAISE, seed: int = 0) -> None:
        self.clock = VirtualClock(seed)
        self.memory = MemoryStore(clock=self.clock)
        self.calls: list[list[list[JobId]]] = []
        self.store = Recorder(FlakyStore(self.memory, NO_FAULTS, random.Random(seed)), self.calls)
        self.queue = Queue(self.store, self.clock, lambda _: on_full)
        self.seed = seed
        self._exchanges = 0

    def fail(self, **faults: float) -> None:
        self.store.flaky.faults = StoreFaults(**faults)  # type: ignore[arg-type]

    def request(self, **fields: Any) -> JobRequest:
        return JobRequest(**{"id": self.clock.new_id(), "task": "t", **fields})

    def run(self, main: Callable[["Bench"], Coroutine[Any, Any, T]]) -> T:
        async def around() -> T:
            try:
                return await main(self)
            finally:
                await self.queue.close()

        return run(around(), clock=self.clock, seed=self.seed)

    async def limit(self, max_depth: int) -> None:
        await self.memory.configure([QueueSettings(queue="default", max_depth=max_depth)])

    async def work(self, jobs: int = 1, result: bytes = b"1") -> list[JobId]:
        """Lease jobs and let them succeed."""
        self._exchanges += 1
        demand = {("default", Lane.MAIN): jobs}
        leased = await self.memory.exchange("w", self._exchanges, [], demand, SECOND)
        acks = [
            Ack(job.id, job.attempt, State.SUCCEEDED, keep=SECOND * 60, result=Raw(result))
            for job in leased.jobs
        ]
        self._exchanges += 1
        await self.memory.exchange("w", self._exchanges, acks, {}, SECOND)
        return [job.id for job in leased.jobs]

    async def states(self) -> dict[State, int]:
        stats = await self.memory.stats()
        return {state: count for queue in stats for state, count in queue.counts.items() if count}


class Recorder(StoreWrapper):
    """Notes the batches that reach the store."""

    def __init__(self, flaky: FlakyStore, calls: list[list[list[JobId]]]) -> None:
        super().__init__(flaky)
        self.flaky = flaky
        self.batches = calls

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        self.batches.append([[request.id for request in call] for call in calls])
        return await super().enqueue(calls)


def test_concurrent_callers_share_commits_and_each_gets_its_answer() -> None:
    async def main(bench: Bench) -> None:
        requests = [bench.request() for _ in range(100)]
        answers = await asyncio.gather(*(bench.queue.enqueue([one]) for one in requests))
        assert [answer for [answer] in answers if answer] == [Enqueued(r.id) for r in requests]
        assert len(bench.calls) <= 2
        assert await bench.states() == {State.READY: 100}

    Bench().run(main)


def test_nothing_is_nothing() -> None:
    async def main(bench: Bench) -> None:
        assert await bench.queue.enqueue([]) == []
        assert bench.calls == []

    Bench().run(main)


def test_callers_with_the_same_key_meet_in_the_store_one_after_the_other() -> None:
    async def main(bench: Bench) -> None:
        requests = [bench.request(unique_key="k") for _ in range(3)]
        answers = await asyncio.gather(*(bench.queue.enqueue([one]) for one in requests))
        assert len(bench.calls) == 3
        holder = bench.calls[0][0][0]
        assert sorted(a.added for [a] in answers if a) == [False, False, True]
        assert {a.id for [a] in answers if a} == {holder}
        assert await bench.states() == {State.READY: 1}

    Bench().run(main)


def keyed(*jobs: tuple[str, str | None, OnConflict]) -> list[JobRequest]:
    return [JobRequest(id=i, task="t", unique_key=key, on_conflict=rule) for i, key, rule in jobs]


@pytest.mark.parametrize(
    ("call", "sent", "answers"),
    [
        ([("a", None, SKIP), ("b", None, SKIP)], "ab", ["a+", "b+"]),
        ([("a", "k", SKIP), ("b", "k", SKIP)], "a", ["a+", "a"]),
        ([("a", "k", SKIP), ("b", "k", REPLACE)], "b", ["b", "b+"]),
        ([("a", "k", RAISE), ("b", "k", SKIP), ("c", "k", REPLACE)], "c", ["c", "c", "c+"]),
        ([("a", "k", SKIP), ("b", "j", SKIP), ("c", "k", SKIP)], "ab", ["a+", "b+", "a"]),
        ([("a", "k", SKIP), ("a", "k", SKIP)], "a", ["a+", "a+"]),
        ([("a", None, SKIP), ("a", None, SKIP)], "a", ["a+", "a+"]),
    ],
)  # fmt: skip
def test_jobs_of_one_call_meet_before_the_store(call: Any, sent: str, answers: list[str]) -> None:
    requests = keyed(*call)

    alone = distinct(requests)

    assert [request.id for request in alone.requests] == list(sent)
    stored = [Enqueued(request.id) for request in alone.requests]
    told = [a.id + ("+" if a.added else "") for a in alone.answers(stored, requests)]
    assert told == answers


@pytest.mark.parametrize(
    ("call", "sent", "answers"),
    [
        ("a:i:1 b:i:1", "a", ["a+", "a"]),
        ("a:i:1 b:j:1 c:i:1", "ab", ["a+", "b+", "a"]),
        ("a:i:1 a:i:1", "a", ["a+", "a+"]),
        ("a:i:1:k b:i:1:k", "a", ["a+", "a"]),
        ("a:i:1:k b:i:1:l c:j:1:l", "ac", ["a+", "a", "c+"]),
    ],
)
def test_idempotency_keys_of_one_call_meet_before_the_store(
    call: str, sent: str, answers: list[str]
) -> None:
    requests = [once(*job.split(":")) for job in call.split()]

    alone = distinct(requests)

    assert [request.id for request in alone.requests] == list(sent)
    stored = [Enqueued(request.id) for request in alone.requests]
    told = [a.id + ("+" if a.added else "") for a in alone.answers(stored, requests)]
    assert told == answers


def once(job: str, key: str, payload: str, unique_key: str | None = None) -> JobRequest:
    raw = Raw(payload.encode())
    return JobRequest(
        id=job, task="t", payload=raw, idempotency_key=f"t:{key}", unique_key=unique_key
    )


def test_a_call_that_asks_for_two_things_under_one_key_enqueues_nothing() -> None:
    async def main(bench: Bench) -> None:
        with pytest.raises(IdempotencyConflict) as caught:
            await bench.queue.enqueue([once("a", "i", "1"), once("b", "i", "2")])
        assert (caught.value.idempotency_key, caught.value.holder) == ("i", "a")
        with pytest.raises(EnqueueError, match="enqueue them in two calls"):
            await bench.queue.enqueue([once("a", "i", "1", "k"), once("b", "j", "1", "k")])
        assert bench.calls == []

    Bench().run(main)


def test_a_mismatch_in_the_store_is_raised_after_the_others_were_added() -> None:
    async def main(bench: Bench) -> None:
        await bench.queue.enqueue([once("a", "i", "1")])
        with pytest.raises(IdempotencyConflict) as caught:
            await bench.queue.enqueue([once("b", "i", "2"), bench.request()])
        assert (caught.value.idempotency_key, caught.value.holder) == ("i", "a")
        assert await bench.states() == {State.READY: 2}

    Bench().run(main)


def test_callers_with_the_same_idempotency_key_meet_one_after_the_other() -> None:
    async def main(bench: Bench) -> None:
        jobs = [once(job, "i", "1") for job in "abc"]
        answers = await asyncio.gather(*(bench.queue.enqueue([job]) for job in jobs))
        assert len(bench.calls) == 3
        assert sorted(a.added for [a] in answers if a) == [False, False, True]
        assert {a.id for [a] in answers if a} == {bench.calls[0][0][0]}

    Bench().run(main)


def test_a_conflict_within_a_call_enqueues_nothing() -> None:
    async def main(bench: Bench) -> None:
        first = bench.request(unique_key="t:k")
        second = bench.request(unique_key="t:k", on_conflict=RAISE)
        with pytest.raises(UniqueConflict) as caught:
            await bench.queue.enqueue([first, second])
        assert (caught.value.unique_key, caught.value.holder) == ("k", first.id)
        assert bench.calls == []

    Bench().run(main)


def test_a_conflict_in_the_store_is_raised_after_the_others_were_added() -> None:
    async def main(bench: Bench) -> None:
        holder = bench.request(unique_key="t:k")
        await bench.queue.enqueue([holder])
        late = [bench.request(unique_key="t:k", on_conflict=RAISE), bench.request()]
        with pytest.raises(UniqueConflict) as caught:
            await bench.queue.enqueue(late)
        assert caught.value.holder == holder.id
        assert await bench.states() == {State.READY: 2}

    Bench().run(main)


def test_a_full_queue_raises_with_what_a_producer_needs_to_know() -> None:
    async def main(bench: Bench) -> None:
        await bench.limit(2)
        await bench.queue.enqueue([bench.request(), bench.request()])
        with pytest.raises(QueueFull) as caught:
            await bench.queue.enqueue([bench.request()])
        error = caught.value
        assert (error.queue, error.depth, error.max_depth) == ("default", 2, 2)
        assert error.retry_after is None
        await bench.work(1)
        await bench.queue.enqueue([bench.request()])
        with pytest.raises(QueueFull) as caught:
            await bench.queue.enqueue([bench.request()])
        assert caught.value.retry_after is not None

    Bench().run(main)


@pytest.mark.parametrize("on_full", [OnFull.RAISE, OnFull.WAIT])
def test_a_call_larger_than_the_queue_fails_at_once(on_full: OnFull) -> None:
    async def main(bench: Bench) -> None:
        await bench.limit(2)
        with pytest.raises(QueueFull):
            await bench.queue.enqueue([bench.request() for _ in range(3)])
        assert bench.clock.elapsed < SECOND

    Bench(on_full).run(main)


def test_a_shedding_queue_drops_and_counts() -> None:
    async def main(bench: Bench) -> None:
        await bench.limit(2)
        assert await bench.queue.enqueue([bench.request()]) is not None
        assert await bench.queue.enqueue([bench.request(), bench.request()]) is None
        assert bench.queue.shed == {"default": 2}
        assert await bench.states() == {State.READY: 1}

    Bench(OnFull.SHED).run(main)


def test_a_waiting_call_is_admitted_when_there_is_room_and_holds_up_nobody() -> None:
    async def main(bench: Bench) -> None:
        await bench.limit(1)
        await bench.queue.enqueue([bench.request()])
        waiting = asyncio.create_task(bench.queue.enqueue([bench.request()]))
        await asyncio.sleep(30)
        assert not waiting.done()
        elsewhere = bench.request(queue="other")
        assert await bench.queue.enqueue([elsewhere]) == [Enqueued(elsewhere.id)]
        assert 30 <= len(bench.calls) <= 120  # it asks about once a second
        await bench.work(1)
        async with asyncio.timeout(2):
            assert await waiting is not None

    Bench(OnFull.WAIT).run(main)


def test_many_waiting_producers_all_get_in_in_the_end() -> None:
    async def main(bench: Bench) -> None:
        await bench.limit(3)

        async def drain() -> None:
            while True:
                await asyncio.sleep(0.2)
                await bench.work(2)

        draining = asyncio.create_task(drain())
        calls = [bench.queue.enqueue([bench.request(), bench.request()]) for _ in range(30)]
        assert all(await asyncio.gather(*calls))
        draining.cancel()
        await asyncio.wait([draining])

    Bench(OnFull.WAIT).run(main)


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
def test_a_store_that_is_away_for_a_moment_is_asked_again_with_the_same_ids(fault: str) -> None:
    async def main(bench: Bench) -> None:
        bench.fail(**{fault: 1.0})
        request = bench.request()
        enqueueing = asyncio.create_task(bench.queue.enqueue([request]))
        await asyncio.sleep(1)
        assert not enqueueing.done()
        bench.fail()
        assert await enqueueing == [Enqueued(request.id)]
        assert {job for batch in bench.calls for call in batch for job in call} == {request.id}
        assert len(bench.calls) > 1
        await asyncio.sleep(5)
        assert await bench.states() == {State.READY: 1}

    Bench().run(main)


def test_a_store_that_stays_away_is_given_up_in_bounded_time() -> None:
    async def main(bench: Bench) -> None:
        bench.fail(refused=1.0)
        with pytest.raises(StoreUnavailable):
            await bench.queue.enqueue([bench.request()])
        assert 3 * SECOND < bench.clock.elapsed < 7 * SECOND
        assert len(bench.calls) < 20

    Bench().run(main)


def test_a_full_disk_is_told_at_once() -> None:
    async def main(bench: Bench) -> None:
        bench.fail(full=1.0)
        with pytest.raises(StoreFull):
            await bench.queue.enqueue([bench.request()])
        assert bench.clock.elapsed < SECOND

    Bench().run(main)


def test_a_call_whose_reply_was_lost_is_not_refused_once_others_filled_the_queue() -> None:
    async def main(bench: Bench) -> None:
        await bench.limit(3)
        holder = bench.request(unique_key="taken")
        await bench.memory.enqueue([[holder]])
        call = [bench.request(), bench.request(unique_key="taken")]
        bench.fail(lost=1.0)
        enqueueing = asyncio.create_task(bench.queue.enqueue(call))
        await asyncio.sleep(1)
        assert await bench.states() == {State.READY: 2}
        await bench.memory.enqueue([[bench.request()]])
        bench.fail()
        assert await enqueueing == [Enqueued(call[0].id), Enqueued(call[1].id, added=False)]
        assert await bench.states() == {State.READY: 3}

    Bench().run(main)


def test_an_item_the_store_cannot_take_harms_no_other() -> None:
    class Picky(Recorder):
        async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
            if any(request.task == "bad" for call in calls for request in call):
                raise ValueError("cannot store that")
            return await super().enqueue(calls)

    async def main(bench: Bench) -> None:
        queue = Queue(Picky(bench.store.flaky, bench.calls), bench.clock)
        requests = [bench.request(task="bad" if n == 3 else "t") for n in range(10)]
        answers = await asyncio.gather(
            *(queue.enqueue([one]) for one in requests), return_exceptions=True
        )
        assert [isinstance(answer, ValueError) for answer in answers] == [n == 3 for n in range(10)]
        assert await bench.states() == {State.READY: 9}

    Bench().run(main)


def test_a_store_that_refuses_is_nobodys_item() -> None:
    class Refusing(Recorder):
        async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
            self.batches.append([])
            raise StoreRefused("not on a network file system")

    async def main(bench: Bench) -> None:
        queue = Queue(Refusing(bench.store.flaky, bench.calls), bench.clock)
        calls = [queue.enqueue([bench.request()]) for _ in range(8)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreRefused] * 8
        assert len(bench.calls) <= 2

    Bench().run(main)


def test_a_cancelled_producer_harms_nobody() -> None:
    async def main(bench: Bench) -> None:
        bench.fail(delayed=1.0)
        tasks = [asyncio.create_task(bench.queue.enqueue([bench.request()])) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[0].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, list) for answer in answers) == 4

    Bench().run(main)


def test_results_come_by_hint_within_a_moment_of_the_end() -> None:
    async def main(bench: Bench) -> None:
        requests = [bench.request() for _ in range(50)]
        await bench.queue.enqueue(requests)
        waiting = [asyncio.create_task(bench.queue.ended(one.id, 60)) for one in requests]
        await asyncio.sleep(10)
        before = bench.clock.elapsed
        await bench.work(50, b'"done"')
        records = await asyncio.gather(*waiting)
        assert [bytes(record.result or b"") for record in records] == [b'"done"'] * 50
        assert bench.clock.elapsed - before < SECOND // 100

    Bench().run(main)


def test_results_come_without_hints_too() -> None:
    class Deaf(StoreWrapper):
        @asynccontextmanager
        async def watch(
            self, hints: Collection[Hint], wake: Callable[[], None]
        ) -> AsyncIterator[None]:
            yield

    async def main(bench: Bench) -> None:
        queue = Queue(Deaf(bench.memory), bench.clock)
        request = bench.request()
        await queue.enqueue([request])
        waiting = asyncio.create_task(queue.ended(request.id, 60))
        await asyncio.sleep(10)
        await bench.work(1)
        before = bench.clock.elapsed
        assert (await waiting).state is State.SUCCEEDED
        assert bench.clock.elapsed - before < SECOND // 2
        await queue.close()

    Bench().run(main)


def test_waiting_ends_at_its_timeout_and_says_where_the_job_is() -> None:
    async def main(bench: Bench) -> None:
        request = bench.request()
        await bench.queue.enqueue([request])
        with pytest.raises(ResultTimeout, match="is still ready after 3 s") as caught:
            await bench.queue.ended(request.id, 3)
        assert (caught.value.state, bench.clock.elapsed // SECOND) == ("ready", 3)
        with pytest.raises(ResultTimeout):
            await bench.queue.ended(request.id, 0)
        await bench.work(1)
        assert (await bench.queue.ended(request.id, 0)).state is State.SUCCEEDED

    Bench().run(main)


def test_waiting_for_what_nobody_knows_fails_at_once() -> None:
    async def main(bench: Bench) -> None:
        with pytest.raises(JobNotFound):
            await bench.queue.ended(bench.clock.new_id(), None)

    Bench().run(main)


def test_waiting_rides_out_a_store_that_is_away() -> None:
    async def main(bench: Bench) -> None:
        request = bench.request()
        await bench.queue.enqueue([request])
        waiting = asyncio.create_task(bench.queue.ended(request.id, 60))
        await asyncio.sleep(1)
        bench.fail(refused=1.0)
        await bench.work(1)
        await asyncio.sleep(5)
        assert not waiting.done()
        bench.fail()
        assert (await waiting).state is State.SUCCEEDED

    Bench().run(main)


def test_a_timeout_while_the_store_is_away_is_a_timeout() -> None:
    async def main(bench: Bench) -> None:
        request = bench.request()
        await bench.queue.enqueue([request])
        waiting = asyncio.create_task(bench.queue.ended(request.id, 3))
        await asyncio.sleep(1)
        bench.fail(refused=1.0)
        with pytest.raises(ResultTimeout, match="is still ready after 3 s"):
            await waiting

    Bench().run(main)


class Unreadable(StoreWrapper):
    """Its jobs cannot be read once `errors` says so."""

    errors: Callable[[Sequence[JobId]], None] = staticmethod(lambda ids: None)

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        self.errors(ids)
        return await super().get(ids)


def test_a_store_that_refuses_to_be_read_tells_all_who_wait() -> None:
    def refuse(ids: Sequence[JobId]) -> None:
        raise StoreRefused("the file is damaged")

    async def main(bench: Bench) -> None:
        store = Unreadable(bench.memory)
        queue = Queue(store, bench.clock)
        requests = [bench.request() for _ in range(3)]
        await queue.enqueue(requests)
        waiting = [asyncio.create_task(queue.ended(one.id, 60)) for one in requests]
        await asyncio.sleep(1)
        store.errors = refuse
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreRefused] * 3

        store.errors = lambda ids: None
        again = asyncio.create_task(queue.ended(requests[0].id, 60))
        await bench.work(3)
        assert (await again).state is State.SUCCEEDED
        await queue.close()

    Bench().run(main)


def test_a_job_that_cannot_be_read_keeps_nobody_else_waiting() -> None:
    async def main(bench: Bench) -> None:
        store = Unreadable(bench.memory)
        queue = Queue(store, bench.clock)
        requests = [bench.request() for _ in range(10)]
        await queue.enqueue(requests)
        waiting = [asyncio.create_task(queue.ended(one.id, 60)) for one in requests]
        await asyncio.sleep(1)

        def damaged(ids: Sequence[JobId]) -> None:
            if requests[3].id in ids:
                raise ValueError("no JSON")

        store.errors = damaged
        await bench.work(10)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(answer, ValueError) for answer in answers] == [n == 3 for n in range(10)]
        await queue.close()

    Bench().run(main)


def test_a_store_that_gives_no_hints_is_polled_and_nothing_else_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Mute(StoreWrapper):
        @asynccontextmanager
        async def watch(
            self, hints: Collection[Hint], wake: Callable[[], None]
        ) -> AsyncIterator[None]:
            raise StoreUnavailable("no watch")
            yield

    async def main(bench: Bench) -> None:
        queue = Queue(Mute(bench.memory), bench.clock)
        request = bench.request()
        await queue.enqueue([request])
        waiting = asyncio.create_task(queue.ended(request.id, 60))
        await asyncio.sleep(1)
        await bench.work(1)
        assert (await waiting).state is State.SUCCEEDED
        await queue.close()

    Bench().run(main)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_cancelled_waiter_leaves_the_others() -> None:
    async def main(bench: Bench) -> None:
        request = bench.request()
        await bench.queue.enqueue([request])
        first, second = (asyncio.create_task(bench.queue.ended(request.id, 60)) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(1)
        await bench.work(1)
        assert (await second).state is State.SUCCEEDED
        assert first.cancelled()

    Bench().run(main)


def test_closing_tells_those_who_wait() -> None:
    async def main(bench: Bench) -> None:
        request = bench.request()
        await bench.queue.enqueue([request])
        waiting = asyncio.create_task(bench.queue.ended(request.id, None))
        await asyncio.sleep(1)
        await bench.queue.close()
        with pytest.raises(StoreUnavailable, match="was closed while job"):
            await waiting
        await asyncio.sleep(0)
        assert [t.get_name() for t in asyncio.all_tasks() if "backline" in t.get_name()] == []

    Bench().run(main)


@pytest.mark.parametrize(
    ("depth", "max_depth", "jobs", "rate", "seconds"),
    [
        (10, 10, 1, 2.0, 0.5),
        (10, 10, 5, 2.0, 2.5),
        (30, 10, 1, 1.0, 21.0),
        (10, 10, 1, 0.0, None),
        (0, 10, 11, 5.0, None),
        (10, 10, 1, 1000.0, 0.1),
        (10**9, 10, 1, 0.001, 3600.0),
    ],
)
def test_retry_after(
    depth: int, max_depth: int, jobs: int, rate: float, seconds: float | None
) -> None:
    assert retry_after(depth, max_depth, jobs, rate) == seconds
