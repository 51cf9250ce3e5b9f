"""Real processes at one store at once, for stores that processes share.

    class TestMyStoreUnderContention(Contention):
        @pytest.fixture
        def address(self, tmp_path):
            return f"sqlite:///{tmp_path}/jobs.db"

Each child is a fresh interpreter that opens the store by its address, waits for the start
signal, plays one role and prints what it saw as JSON. All of them are killed when `PATIENCE`
is over. A store that is not opened by `open_store` names its own opener.
"""

import asyncio
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pkgutil import resolve_name
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import msgspec
import pytest
from msgspec import Raw

from backline.clock import SYSTEM_CLOCK
from backline.fanout import SubscriptionChange, SubscriptionSpec
from backline.job import HOUR, Acked, Enqueued, OnConflict
from backline.schedule import Every, Missed, ScheduleChange, ScheduleSpec, firing
from backline.schedule.change import created
from backline.states import State
from backline.store import Hint, QueueSettings, Store
from backline.testing.conformance.fanning import publish_same
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    BareWorker,
    assert_adds_up,
    done,
    find_all,
    make_job,
    make_jobs,
    put_back,
    stats_of,
)

T = TypeVar("T")
Role: TypeAlias = Callable[[Store, str, int], Awaitable[list[Any]]]

PATIENCE: Final = 60.0
"""Seconds of real time that the children may take."""
CROWD: Final = 4
POLL: Final = 0.05
"""Seconds after which to look again although no hint came."""


async def lease_and_finish(store: Store, name: str, count: int) -> list[Any]:
    """Lease a few at a time and ack with the next call, until there is nothing left."""
    return await _drain(BareWorker(store, name), count)


async def lease_for_ever(store: Store, name: str, count: int) -> list[Any]:
    """Lease, finish, and add as many again; somebody has to end it."""
    worker = BareWorker(store, name)
    while True:
        leased = await _drain(worker, count)
        await store.enqueue([make_jobs(SYSTEM_CLOCK, max(len(leased), 10))])


async def enqueue_keys(store: Store, name: str, count: int) -> list[Any]:
    """Enqueue a job for each of `count` keys, the same keys as everybody."""
    del name
    answers: list[Any] = []
    for n in range(count):
        how = OnConflict.RAISE if n % 2 else OnConflict.SKIP
        job = make_job(SYSTEM_CLOCK, unique_key=f"key {n}", on_conflict=how)
        [answer] = await store.enqueue([[job]])
        assert isinstance(answer, list)
        answers.append([answer[0].id, answer[0].added, answer[0].conflict])
    return answers


async def enqueue_once(store: Store, name: str, count: int) -> list[Any]:
    """Enqueue the same request for each of `count` keys as everybody; one of two asks for more."""
    answers: list[Any] = []
    for n in range(count):
        payload = Raw(b"[[2],{}]" if name.endswith(("1", "3")) else b"[[1],{}]")
        job = make_job(SYSTEM_CLOCK, idempotency_key=f"key {n}", payload=payload)
        [answer] = await store.enqueue([[job]])
        assert isinstance(answer, list)
        answers.append([answer[0].id, answer[0].added, answer[0].mismatch])
    return answers


async def replace_in_turn(store: Store, name: str, count: int) -> list[Any]:
    """Put off the same job `count` times, as everybody does; says what was added."""
    del name
    jobs = [
        make_job(
            SYSTEM_CLOCK,
            unique_key="k",
            on_conflict=OnConflict.REPLACE,
            delay=HOUR,
            max_wait=HOUR + HOUR,
        )
        for _ in range(count)
    ]
    for job in jobs:
        assert await store.enqueue([[job]]) == [[Enqueued(job.id)]]
    return [job.id for job in jobs]


async def enqueue_many(store: Store, name: str, count: int) -> list[Any]:
    """Enqueue `count` jobs one by one; says which of them were admitted."""
    del name
    jobs = make_jobs(SYSTEM_CLOCK, count)
    return [isinstance((await store.enqueue([[job]]))[0], list) for job in jobs]


async def reap(store: Store, name: str, count: int) -> list[Any]:
    """Put back what is overdue; says which jobs this process put back."""
    reaper = BareWorker(store, name)
    applied: list[Any] = []
    while over := await store.overdue(count):
        acks = await reaper.settle(*[put_back(lease, if_overdue=True) for lease in over])
        pairs = zip(over, acks, strict=True)
        applied += [lease.id for lease, acked in pairs if acked is Acked.APPLIED]
    return applied


async def tick_slots(store: Store, name: str, count: int) -> list[Any]:
    """Use slots, at most `count` at a time, until none is due; says which this process used."""
    del name
    used: list[Any] = []
    while (page := await store.due_schedules(limit=10)).schedules:
        [found] = page.schedules
        due = firing(found, page.now, limit=count)
        assert due is not None
        if await store.tick([due.tick]) == [True]:
            used += [job.run_at for job in due.tick.jobs]
    return used


async def look(store: Store, name: str, count: int) -> list[Any]:
    """Migrate, and look at the store: nothing may be half done."""
    del name
    for _ in range(count):
        await store.migrate()
        await assert_adds_up(store)
    return []


ROLES: Final[Mapping[str, Role]] = {
    role.__name__: role
    for role in (
        lease_and_finish,
        lease_for_ever,
        enqueue_keys,
        enqueue_once,
        replace_in_turn,
        enqueue_many,
        reap,
        tick_slots,
        publish_same,
        look,
    )
}


class Contention:
    """Races between processes; each test names what must come out of them."""

    opener: ClassVar[str] = "backline.stores:open_store"
    """Where the function is that opens an address."""

    @pytest.fixture
    def address(self) -> str:
        """Override: the address of a store that no other test uses."""
        raise NotImplementedError("override the fixture address")

    def with_store(self, address: str, use: Callable[[Store], Awaitable[T]]) -> T:
        """What `use` answers about the store, opened in this process for that long."""

        async def visit() -> T:
            store: Store = resolve_name(self.opener)(address)
            await store.open()
            try:
                return await use(store)
            finally:
                await store.close()

        return asyncio.run(visit())

    def race(self, address: str, role: Role, count: int, crowd: int = CROWD) -> list[list[Any]]:
        """What each of a crowd of processes saw, all of them started at once."""
        with self.crew(address, role, count, crowd) as crew:
            for process in crew:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.flush()
            answers = [process.communicate(timeout=PATIENCE) for process in crew]
        for process, (_, complaint) in zip(crew, answers, strict=True):
            assert process.returncode == 0, complaint.decode()
        return [msgspec.json.decode(answer) for answer, _ in answers]

    @contextmanager
    def crew(
        self, address: str, role: Role, count: int, crowd: int
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Processes that have opened the store and wait for their start signal."""
        command = [sys.executable, "-m", __name__, self.opener, address, role.__name__, str(count)]
        crew = [_started([*command, f"worker-{n}"]) for n in range(crowd)]
        try:
            for process in crew:
                _await_ready(process)
            yield crew
        finally:
            for process in crew:
                process.kill()
                process.communicate()

    def test_i3_each_job_is_leased_once(self, address: str) -> None:
        jobs = make_jobs(SYSTEM_CLOCK, 300)
        self.with_store(address, lambda store: store.enqueue([jobs]))
        seen = self.race(address, lease_and_finish, 3)
        leased = Counter(job_id for answers in seen for job_id, _ in answers)
        assert leased == Counter({job.id: 1 for job in jobs})
        assert {attempt for answers in seen for _, attempt in answers} == {1}

        async def all_done(store: Store) -> None:
            assert (await stats_of(store)).counts[State.SUCCEEDED] == len(jobs)
            await assert_adds_up(store)

        self.with_store(address, all_done)

    def test_of_those_who_want_a_key_one_wins(self, address: str) -> None:
        seen = self.race(address, enqueue_keys, 40)
        for answers in zip(*seen, strict=True):
            assert sum(added for _, added, _ in answers) == 1
            assert len({holder for holder, _, _ in answers}) == 1
        conflicts = [conflict for answers in seen for _, _, conflict in answers]
        assert sum(conflicts) == 20 * (CROWD - 1)

    def test_i5_of_those_who_ask_under_an_idempotency_key_one_is_served(self, address: str) -> None:
        seen = self.race(address, enqueue_once, 40)
        for answers in zip(*seen, strict=True):
            assert sum(added for _, added, _ in answers) == 1
            assert len({holder for holder, _, _ in answers}) == 1
            assert sum(mismatch for _, _, mismatch in answers) == CROWD // 2

    def test_of_those_who_replace_each_other_one_is_left(self, address: str) -> None:
        seen = self.race(address, replace_in_turn, 30)

        async def one_left(store: Store) -> None:
            jobs = await find_all(store, page=500)
            assert {job.id for job in jobs} == {job for answers in seen for job in answers}
            left = [job for job in jobs if job.state is not State.CANCELLED]
            assert [job.state for job in left] == [State.SCHEDULED]
            assert left[0].id in {answers[-1] for answers in seen}
            await assert_adds_up(store)

        self.with_store(address, one_left)

    def test_i8_the_depth_exceeds_its_limit_by_no_more_than_the_calls_in_flight(
        self, address: str
    ) -> None:
        edit = [QueueSettings(queue=QUEUE, max_depth=100)]
        self.with_store(address, lambda store: store.configure(edit))
        seen = self.race(address, enqueue_many, 50)
        admitted = sum(sum(answers) for answers in seen)
        assert 100 <= admitted <= 100 + CROWD
        depth = self.with_store(address, stats_of).depth
        assert depth == admitted

    def test_i3_each_lease_that_is_over_is_settled_once(self, address: str) -> None:
        async def leave(store: Store) -> list[str]:
            await store.enqueue([make_jobs(SYSTEM_CLOCK, 100)])
            return [lease.id for lease in await BareWorker(store, "gone", ttl=0).lease(100)]

        left = self.with_store(address, leave)
        seen = self.race(address, reap, 5)
        settled = Counter(job_id for answers in seen for job_id in answers)
        assert settled == Counter(dict.fromkeys(left, 1))

    def test_i12_each_slot_makes_one_job(self, address: str) -> None:
        long_ago = SYSTEM_CLOCK.now() // HOUR * HOUR - 200 * HOUR
        spec = ScheduleSpec(rule=Every(HOUR), job=make_job(SYSTEM_CLOCK), missed=Missed.ALL)
        new = [ScheduleChange("hourly", 0, created("hourly", spec, long_ago))]
        self.with_store(address, lambda store: store.arrange(new))
        seen = self.race(address, tick_slots, 2)
        used = sorted(slot for slots in seen for slot in slots)
        assert used == [long_ago + n * HOUR for n in range(1, len(used) + 1)]
        assert len(used) >= 200
        jobs = self.with_store(address, partial(find_all, page=500))
        assert sorted(job.due for job in jobs) == used

    def test_i13_each_event_makes_one_job_a_subscription(self, address: str) -> None:
        job = make_job(SYSTEM_CLOCK, id="")
        specs = [SubscriptionSpec(patterns=(each,), job=job) for each in ("user.registered", "#")]
        changes = [SubscriptionChange(f"s{n}", 0, spec) for n, spec in enumerate(specs)]
        self.with_store(address, lambda store: store.subscribe(changes))
        seen = self.race(address, publish_same, 40)
        for answers in zip(*seen, strict=True):
            assert sum(added for added, _ in answers) == 1
            assert all(jobs == answers[0][1] for _, jobs in answers)
        jobs = self.with_store(address, partial(find_all, page=500))
        assert {job.id for job in jobs} == {i for _, made in seen[0] for i in made.values()}
        assert len(jobs) == 2 * 40

    def test_a_crowd_may_open_a_new_store_at_once(self, address: str) -> None:
        self.race(address, look, 3, crowd=8)

    def test_i1_i11_a_process_that_is_killed_takes_nothing_along(self, address: str) -> None:
        self.with_store(address, lambda store: store.enqueue([make_jobs(SYSTEM_CLOCK, 50)]))
        with self.crew(address, lease_for_ever, 5, CROWD) as crew:
            for process in crew:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.flush()
            for victim in crew:
                self.with_store(address, partial(_more_finished, 50))
                assert victim.poll() is None, "it was to run until it is killed"
                victim.send_signal(signal.SIGKILL)
                victim.wait(PATIENCE)

        async def whole(store: Store) -> None:
            await assert_adds_up(store)
            held = {lease.id for n in range(CROWD) for lease in await store.held(f"worker-{n}")}
            running = [job for job in await find_all(store, page=500) if job.state is State.RUNNING]
            assert {job.id for job in running} == held
            acks = [
                put_back(lease) for n in range(CROWD) for lease in await store.held(f"worker-{n}")
            ]
            supervisor = BareWorker(store, "supervisor")
            assert await supervisor.settle(*acks) == [Acked.APPLIED] * len(acks)
            rest = await lease_and_finish(store, "successor", 100)
            assert len(rest) >= len(acks)
            await assert_adds_up(store)
            assert {job.state for job in await find_all(store, page=500)} == {State.SUCCEEDED}

        self.with_store(address, whole)


async def _drain(worker: BareWorker, count: int) -> list[Any]:
    leased: list[Any] = []
    exchange = await worker.exchange((), {MAIN: count})
    while exchange.jobs:
        leased += [[job.id, job.attempt] for job in exchange.jobs]
        exchange = await worker.exchange([done(job) for job in exchange.jobs], {MAIN: count})
        assert all(acked is Acked.APPLIED for acked in exchange.acks)
    return leased


async def _more_finished(more: int, store: Store) -> None:
    """Wait until `more` jobs than now have succeeded."""
    ended = asyncio.Event()
    enough = (await stats_of(store)).counts[State.SUCCEEDED] + more
    async with asyncio.timeout(PATIENCE), store.watch({Hint.FINISHED}, ended.set):
        while (await stats_of(store)).counts[State.SUCCEEDED] < enough:
            ended.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await ended.wait()


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def _await_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
    assert readable, "a child did not open the store in time"
    if process.stdout.readline() != b"ready\n":
        raise AssertionError(process.stderr.read().decode())


async def _play(opener: str, address: str, role: str, count: str, name: str) -> list[Any]:
    store: Store = resolve_name(opener)(address)
    await store.open()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        raise SystemExit("whoever started this is gone")
    try:
        return await ROLES[role](store, name, int(count))
    finally:
        await store.close()


if __name__ == "__main__":
    _answer = asyncio.run(_play(*sys.argv[1:6]))
    sys.stdout.write(msgspec.json.encode(_answer).decode())
