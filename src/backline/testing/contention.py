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
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pkgutil import resolve_name
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import pytest

from backline.clock import SYSTEM_CLOCK
from backline.fanout import SubscriptionChange, SubscriptionSpec
from backline.job import HOUR, Acked, JobRequest
from backline.parents import After
from backline.schedule import Every, Missed, ScheduleChange, ScheduleSpec
from backline.schedule.change import created
from backline.states import State
from backline.store import Hint, QueueSettings, Store
from backline.testing.children import await_ready, started
from backline.testing.conformance.fanning import publish_same
from backline.testing.conformance.jobs import (
    QUEUE,
    BareWorker,
    assert_adds_up,
    find_all,
    make_job,
    make_jobs,
    put_back,
    stats_of,
)
from backline.testing.roles import (
    ROLES,
    Role,
    enqueue_keys,
    enqueue_many,
    enqueue_once,
    lease_and_finish,
    lease_for_ever,
    look,
    reap,
    replace_in_turn,
    tick_slots,
)

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds of real time that the children may take."""
CROWD: Final = 4
POLL: Final = 0.05
"""Seconds after which to look again although no hint came."""


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
        crew = [started([*command, f"worker-{n}"]) for n in range(crowd)]
        try:
            for process in crew:
                await_ready(process, PATIENCE)
            yield crew
        finally:
            for process in crew:
                process.kill()
                process.communicate()

    def test_i9_a_continuation_goes_on_once_whoever_ends_the_last_of_its_group(
        self, address: str
    ) -> None:
        groups, jobs, then = 30, list[JobRequest](), list[JobRequest]()
        for n in range(groups):
            of = {"flow": f"f{n}", "group": f"g{n}"}
            jobs += [make_job(SYSTEM_CLOCK, **of) for _ in range(CROWD)]
            then.append(make_job(SYSTEM_CLOCK, after=(After(f"g{n}"),)))
        self.with_store(address, lambda store: store.enqueue([[*jobs, *then]]))
        seen = self.race(address, lease_and_finish, 1)
        leased = Counter(job_id for answers in seen for job_id, _ in answers)
        assert {leased[job.id] for job in jobs} == {1}
        assert {leased[job.id] for job in then} <= {0, 1}
        rest = self.with_store(address, lambda store: lease_and_finish(store, "last", 100))
        assert sum(leased[job.id] for job in then) + len(rest) == groups

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
