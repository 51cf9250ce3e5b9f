"""Hints of a SQLite store on a real event loop: heard at once, and never too often."""

import asyncio
import errno
import os
import select
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from itertools import count, pairwise
from pathlib import Path
from typing import cast

import pytest

from backline.clock import SYSTEM_CLOCK
from backline.job import SECOND, JobRequest, Lane
from backline.store import Exchange, Hint
from backline.stores.sqlite import SqliteStore, wakeups
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.wakeups import BURST, PACE, Wakeups

OURS, THEIRS = 1, 2
COMMITS = count(1)


@pytest.fixture
def hints(tmp_path: Path) -> Iterator[Wakeups]:
    hints = Wakeups(tmp_path / "jobs.db", OURS)
    yield hints
    hints.close()


def another_process_tells(tmp_path: Path, hint: Hint) -> None:
    """As a commit of another process does: with a stamp that is not ours."""
    side = os.open(tmp_path / f"jobs.db-{hint}", os.O_WRONLY)
    os.pwrite(side, wakeups._STAMP.pack(THEIRS, next(COMMITS)), 0)
    os.close(side)


async def test_another_process_is_heard(tmp_path: Path, hints: Wakeups) -> None:
    woken = asyncio.Event()
    with hints.watching([Hint.WORK], woken.set):
        another_process_tells(tmp_path, Hint.WORK)
        await asyncio.wait_for(woken.wait(), 5)


async def test_a_worker_that_is_woken_before_the_commit_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer, worker = SqliteStore(tmp_path / "jobs.db"), SqliteStore(tmp_path / "jobs.db")
    await producer.open()
    await worker.open()
    loop = asyncio.get_running_loop()
    waits = threading.Event()
    asking: list[Future[Exchange]] = []
    told: list[Collection[Hint]] = []

    def tell_early(hints: Collection[Hint]) -> None:
        told.append(hints)
        call = worker.exchange("worker", 1, [], {("default", Lane.MAIN): 1}, SECOND)
        asking.append(asyncio.run_coroutine_threadsafe(call, loop))
        assert waits.wait(10)

    assert producer._session is not None
    assert producer._session.wakeups is not None
    assert worker._session is not None
    monkeypatch.setattr(producer._session.wakeups, "tell_early", tell_early)
    monkeypatch.setattr(producer._session.wakeups, "tell", told.append)
    monkeypatch.setattr(worker._session, "_check_files", waits.set)
    job = JobRequest(id=SYSTEM_CLOCK.new_id(), task="t")
    await producer.enqueue([[job]])
    found = await asyncio.wrap_future(asking[0])
    assert [lease.id for lease in found.jobs] == [job.id]
    assert told == [{Hint.WORK}, {Hint.WORK}]  # and once more, for those who only read
    await worker.close()
    await producer.close()


async def test_a_hint_that_comes_twice_counts_once(tmp_path: Path, hints: Wakeups) -> None:
    another = Wakeups(tmp_path / "jobs.db", THEIRS)
    wakeups._tokens.discard(THEIRS)  # as another process sees it
    woken = asyncio.Event()
    with hints.watching([Hint.WORK], woken.set):
        [watcher] = hints._mine
        for teller in (hints, another):
            left = watcher.allowance = BURST
            for commit in (1, 2):
                for tell in (teller.tell_early, teller.tell):
                    tell([Hint.WORK])
                    await asyncio.wait_for(woken.wait(), 5)
                    woken.clear()
                assert watcher.allowance >= left - commit  # what it gained meanwhile is its own
                assert watcher.allowance < left
    another.close()


async def test_a_look_that_fails_is_an_error_of_its_call_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    session = store._session
    assert session is not None

    def look(_db: Connection) -> None:
        raise ValueError("nobody can read this")

    first, second, third = await asyncio.gather(
        session.write(lambda _tx: 1),
        session.write(lambda _tx: 2, look),
        session.write(lambda _tx: 3, lambda _db: 4),
        return_exceptions=True,
    )
    assert first == 1
    assert isinstance(second, ValueError)
    assert third == 4
    await store.close()


async def test_without_inotify_the_files_are_looked_at(
    tmp_path: Path, hints: Wakeups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "_inotify", lambda _files: None)
    woken = asyncio.Event()
    with hints.watching([Hint.WORK], woken.set):
        os.utime(tmp_path / "jobs.db-work", ns=(1, 1))
        await asyncio.wait_for(woken.wait(), 5)


async def test_only_what_was_asked_for_is_heard(tmp_path: Path, hints: Wakeups) -> None:
    heard: list[str] = []
    both = asyncio.Event()
    with (
        hints.watching([Hint.FINISHED], lambda: heard.append("finished")),
        hints.watching([Hint.WORK], both.set),
    ):
        another_process_tells(tmp_path, Hint.WORK)
        hints.tell([Hint.WORK])
        await asyncio.wait_for(both.wait(), 5)
        assert heard == []


async def test_a_hint_of_this_process_wakes_once(hints: Wakeups) -> None:
    """Told directly; that inotify sees the write too counts for nothing."""
    wakes: list[None] = []
    last = asyncio.Event()
    with hints.watching([Hint.WORK], lambda: wakes.append(None)):
        hints.tell([Hint.WORK])
        with hints.watching([Hint.FINISHED], last.set):
            hints.tell([Hint.FINISHED])
            await asyncio.wait_for(last.wait(), 5)
    assert len(wakes) == 1


async def test_a_hint_comes_from_any_thread(hints: Wakeups) -> None:
    woken = asyncio.Event()
    with hints.watching([Hint.WORK], woken.set):
        await asyncio.get_running_loop().run_in_executor(None, hints.tell, [Hint.WORK])
        await asyncio.wait_for(woken.wait(), 5)


class Loop:
    """As much of a loop as a watcher uses, on a time of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timer: tuple[float, Callable[[], None]] | None = None
        self._reader: tuple[int, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> object:
        self._timer = (self.now + delay, call)
        return object()

    def add_reader(self, descriptor: int, call: Callable[[], None]) -> None:
        self._reader = (descriptor, call)

    def remove_reader(self, descriptor: int) -> None:
        assert self._reader is not None
        assert self._reader[0] == descriptor
        self._reader = None

    def go_to(self, now: float) -> None:
        self.now = now
        if self._reader is not None and select.select([self._reader[0]], [], [], 0)[0]:
            self._reader[1]()
        if self._timer is not None and self._timer[0] <= now:
            _, call = self._timer
            self._timer = None
            call()


def watcher_on(loop: Loop, wake: Callable[[], None]) -> wakeups._Watcher:
    return wakeups._Watcher(cast("asyncio.AbstractEventLoop", loop), frozenset(Hint), wake)


def test_a_busy_neighbour_does_not_spin_an_idle_worker() -> None:
    loop = Loop()
    wakes: list[float] = []
    watcher = watcher_on(loop, lambda: wakes.append(loop.now))
    for step in range(10_000):  # a hint every millisecond for ten seconds
        loop.go_to(step / 1_000)
        watcher.hint()
    assert PACE * 10 <= len(wakes) <= PACE * 10 + BURST + 1
    assert wakes[: int(BURST)] == [step / 1_000 for step in range(int(BURST))]


def test_a_hint_that_comes_too_soon_is_kept(tmp_path: Path, hints: Wakeups) -> None:
    """Each wake-up has another process tell once more, which it is too soon to hear of."""
    loop = Loop()
    wakes: list[float] = []

    def wake() -> None:
        wakes.append(loop.now)
        another_process_tells(tmp_path, Hint.WORK)

    watcher = watcher_on(loop, wake)
    with wakeups._listening(watcher, {Hint.WORK: tmp_path / f"jobs.db-{Hint.WORK}"}):
        another_process_tells(tmp_path, Hint.WORK)
        for step in range(1_000):  # every millisecond of a second
            loop.go_to(step / 1_000)
    assert hints  # whose files they are
    waits = [later - sooner for sooner, later in pairwise(wakes)]
    assert waits[int(BURST) :] == pytest.approx([1 / PACE] * (int(PACE) - 2), abs=1e-6)


def test_a_hint_of_use_costs_nothing(hints: Wakeups) -> None:
    loop = Loop()
    wakes: list[float] = []
    watcher = watcher_on(loop, lambda: wakes.append(loop.now))
    hints._mine.add(watcher)
    for _ in range(100):
        watcher.hint()
        hints.paid()
    assert len(wakes) == 100


def test_side_files_that_cannot_all_be_opened_leave_none_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no more files tries again and again, and must not lose one each time."""
    real, handed_out = wakeups._open, list[int]()

    def one_is_left(file: Path) -> int:
        if handed_out:
            raise OSError(errno.EMFILE, "Too many open files")
        handed_out.append(real(file))
        return handed_out[0]

    monkeypatch.setattr(wakeups, "_open", one_is_left)
    with pytest.raises(OSError, match="Too many"):
        Wakeups(tmp_path / "jobs.db", OURS)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handed_out[0])
