"""The board against a dict, from another process, and torn by hand."""

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backline.worker import board as layout
from backline.worker.board import MAX_RESULT, Board, Entry, Phase, Reply

ID = "01890a5d-ac96-774b-bcce-b302099a80{:02x}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.board"


@pytest.fixture
def worker(path: Path) -> Iterator[Board]:
    board = Board.create(path, 4, "w-1")
    yield board
    board.close()


@pytest.fixture
def supervisor(path: Path, worker: Board) -> Iterator[Board]:
    board = Board.open(path)
    yield board
    board.close()


def test_the_other_side_sees_each_phase(worker: Board, supervisor: Board) -> None:
    ran, won, other = (worker.start(ID.format(n), n, 1_000 + n) for n in (1, 2, 3))
    worker.finish(won, b'"ok"')
    worker.finish_other(other)

    assert supervisor.worker == "w-1"
    assert supervisor.entries() == [
        Entry(ran, ID.format(1), 1, Phase.STARTED, 1_001, None),
        Entry(won, ID.format(2), 2, Phase.SUCCEEDED, 1_002, b'"ok"'),
        Entry(other, ID.format(3), 3, Phase.FINISHED, 1_003, None),
    ]
    assert supervisor.finished == 2
    for slot in (ran, won, other):
        worker.clear(slot)
    assert supervisor.entries() == []


def test_a_result_that_does_not_fit_is_finished_without_its_outcome(worker: Board) -> None:
    fits, too_long = worker.start(ID.format(1), 1, 0), worker.start(ID.format(2), 1, 0)
    worker.finish(fits, b"x" * MAX_RESULT)
    worker.finish(too_long, b"x" * (MAX_RESULT + 1))

    first, second = worker.entries()
    assert (first.phase, first.result) == (Phase.SUCCEEDED, b"x" * MAX_RESULT)
    assert (second.phase, second.result) == (Phase.FINISHED, None)


def test_a_reply_reaches_its_job_and_never_the_next_one_in_the_slot(
    worker: Board, supervisor: Board
) -> None:
    slot = worker.start(ID.format(1), 7, 0)
    assert not worker.any_reply()
    assert supervisor.tell(ID.format(1), 7, Reply.CANCEL)
    assert worker.any_reply()
    assert not worker.any_reply()
    assert worker.reply(slot) is Reply.CANCEL

    worker.finish_other(slot)
    worker.clear(slot)
    assert worker.start(ID.format(2), 1, 0) == slot
    assert worker.reply(slot) is Reply.NONE
    assert not supervisor.tell(ID.format(1), 7, Reply.LOST)
    assert not supervisor.tell(ID.format(2), 2, Reply.LOST)
    assert worker.reply(slot) is Reply.NONE
    assert not worker.any_reply()


def test_a_cancel_does_not_hide_that_the_lease_is_lost(worker: Board, supervisor: Board) -> None:
    slot = worker.start(ID.format(1), 1, 0)
    assert supervisor.tell(ID.format(1), 1, Reply.LOST)
    assert supervisor.tell(ID.format(1), 1, Reply.CANCEL)
    assert worker.reply(slot) is Reply.LOST


def test_renewal_and_beat_pass_between_the_sides(worker: Board, supervisor: Board) -> None:
    assert (worker.renewed_until, supervisor.beaten_at) == (0, 0)
    supervisor.renew(30_000_000)
    worker.beat(12_000_000)
    assert (worker.renewed_until, supervisor.beaten_at) == (30_000_000, 12_000_000)


def test_a_full_board_and_a_long_id_are_refused(worker: Board) -> None:
    with pytest.raises(ValueError, match="at most 40 bytes"):
        worker.start("x" * 41, 1, 0)
    for n in range(4):
        assert not worker.full
        worker.start(ID.format(n), 1, 0)
    assert worker.full
    with pytest.raises(IndexError):
        worker.start(ID.format(9), 1, 0)


def test_a_slot_torn_in_start_has_not_started(worker: Board, supervisor: Board) -> None:
    base = layout._HEADER_WORDS
    body = (base + layout._S_BODY) * 8
    layout._BODY.pack_into(worker._memory, body, 1, 3, 99, ID.format(1).encode())
    assert supervisor.entries() == []  # the body is there, the entry's word is not

    worker._words[base] = 1 << 8 | Phase.STARTED
    assert supervisor.entries() == [Entry(0, ID.format(1), 3, Phase.STARTED, 99, None)]


def test_a_slot_torn_in_finish_has_started_and_no_more(worker: Board, supervisor: Board) -> None:
    slot = worker.start(ID.format(1), 1, 5)
    base = layout._HEADER_WORDS + slot * layout._SLOT_WORDS
    at = (base + layout._S_RESULT) * 8
    worker._memory[at : at + 4] = b'"hal'
    worker._words[base + layout._S_LENGTH] = 6
    assert supervisor.entries() == [Entry(slot, ID.format(1), 1, Phase.STARTED, 5, None)]


def test_a_damaged_slot_counts_as_started(worker: Board, supervisor: Board) -> None:
    slot = worker.start(ID.format(1), 1, 5)
    worker.finish(slot, b"1")
    base = layout._HEADER_WORDS + slot * layout._SLOT_WORDS
    body = (base + layout._S_BODY) * 8
    struct.pack_into("=q", worker._memory, body, 77)  # a generation that is not the entry's
    assert supervisor.entries() == [Entry(slot, ID.format(1), 1, Phase.STARTED, 5, None)]
    worker._words[base] = 1 << 8 | 0x7F  # no phase of ours
    assert [entry.phase for entry in supervisor.entries()] == [Phase.STARTED]


def test_only_a_whole_board_opens(path: Path, worker: Board) -> None:
    whole = path.read_bytes()
    with pytest.raises(FileExistsError):
        Board.create(path, 4, "w-2")
    for damaged in (b"", whole[:100], whole[:-8], b"\0" * len(whole)):
        other = path.with_suffix(".damaged")
        other.write_bytes(damaged)
        with pytest.raises(ValueError, match="is no board"):
            Board.open(other)
    with pytest.raises(FileNotFoundError):
        Board.open(path.with_suffix(".gone"))
    with pytest.raises(ValueError, match="no board for"):
        Board.private(0, "w")


def test_a_private_board_works_alike() -> None:
    board = Board.private(2, "embedded")
    slot = board.start(ID.format(1), 1, 0)
    assert board.tell(ID.format(1), 1, Reply.CANCEL)
    assert (board.worker, board.reply(slot)) == ("embedded", Reply.CANCEL)
    board.close()
    board.close()


READER = """
import json, sys
from pathlib import Path
from backline.worker.board import Board, Reply

board = Board.open(Path(sys.argv[1]))
print(json.dumps(board.entries()), flush=True)
job_id, attempt = json.loads(sys.stdin.readline())
print(json.dumps(board.tell(job_id, attempt, Reply.CANCEL)), flush=True)
"""


@pytest.mark.processes
def test_another_process_reads_and_replies(path: Path, worker: Board) -> None:
    slot = worker.start(ID.format(1), 2, 42)
    answers = subprocess.run(
        [sys.executable, "-c", READER, str(path)],
        input=json.dumps([ID.format(1), 2]),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.splitlines()
    entries, told = map(json.loads, answers)
    assert entries == [[slot, ID.format(1), 2, Phase.STARTED, 42, None]]
    assert told is True
    assert worker.any_reply()
    assert worker.reply(slot) is Reply.CANCEL


class BoardAgainstDict(RuleBasedStateMachine):
    """Both sides of a board beside a dict of what is on it."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board.private(3, "model")
        self.model: dict[int, Entry] = {}
        self.told: dict[int, Reply] = {}
        self.finished = 0
        self.made = 0

    @precondition(lambda self: len(self.model) < 3)
    @rule(attempt=st.integers(1, 2**62), deadline=st.integers(0, 2**62))
    def start(self, attempt: int, deadline: int) -> None:
        self.made += 1
        job_id = ID.format(self.made % 256)
        slot = self.board.start(job_id, attempt, deadline)
        assert slot not in self.model
        self.model[slot] = Entry(slot, job_id, attempt, Phase.STARTED, deadline, None)
        self.told[slot] = Reply.NONE

    @precondition(lambda self: self.model)
    @rule(data=st.data(), result=st.none() | st.binary(max_size=MAX_RESULT + 2))
    def finish(self, data: st.DataObject, result: bytes | None) -> None:
        entry = data.draw(st.sampled_from(sorted(self.model.values())))
        if entry.phase is not Phase.STARTED:
            return
        self.board.finish(entry.slot, result)
        fits = result is None or len(result) <= MAX_RESULT
        self.model[entry.slot] = entry._replace(
            phase=Phase.SUCCEEDED if fits else Phase.FINISHED, result=result if fits else None
        )
        self.finished += 1

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        self.board.clear(slot)
        del self.model[slot], self.told[slot]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), reply=st.sampled_from([Reply.CANCEL, Reply.LOST]), off=st.booleans())
    def tell(self, data: st.DataObject, reply: Reply, off: bool) -> None:
        entry = data.draw(st.sampled_from(sorted(self.model.values())))
        assert self.board.tell(entry.job_id, entry.attempt + off, reply) is not off
        if not off:
            self.told[entry.slot] = max(self.told[entry.slot], reply)

    @invariant()
    def agree(self) -> None:
        assert self.board.entries() == [self.model[slot] for slot in sorted(self.model)]
        assert {slot: self.board.reply(slot) for slot in self.told} == self.told
        assert self.board.finished == self.finished
        assert self.board.full == (len(self.model) == 3)

    def teardown(self) -> None:
        self.board.close()


TestBoardAgainstDict = BoardAgainstDict.TestCase


def test_a_board_has_all_its_room_from_the_start(tmp_path: Path) -> None:
    """A worker that wrote into a hole of it when the disk is full would be killed for that."""
    path = tmp_path / "w.board"
    board = Board.create(path, 1_000, "w")
    found = path.stat()
    assert found.st_blocks * 512 >= found.st_size > 500_000
    board.close()


def test_a_board_without_room_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*w\.board"):
        Board.create(tmp_path / "w.board", 8, "w")
    assert list(tmp_path.iterdir()) == []
