"""The board: what a worker runs at the moment, where another process can read it.

A memory-mapped file with a slot per job that was started and whose outcome is not stored
yet. The worker writes it in about a microsecond a job; its supervisor reads it at any
moment, above all after the worker is gone, and writes back: a reply word per slot (cancel,
lost) and until when the leases are renewed.

**No lock and no torn entry.** Each word has one writer. A slot's entry is its first word,
`(generation << 8) | phase`, one aligned store: the body is written before it and read
between two reads of it. So a worker killed in the middle of `start` has not started the
job, and one killed in the middle of `finish` has started it and no more. The reply word
carries the generation it answers to, so a late reply never meets the slot's next job.

A private board (`Board.private`) is the same in anonymous memory, for embedded workers.
"""

import mmap
import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

from backline.job import JobId, Micros, WorkerName

Token: TypeAlias = tuple[JobId, int]
"""(job id, attempt): the fencing token of a lease."""

MAX_RESULT: Final = 512
"""Bytes of a result that a slot records; a larger one is finished without its outcome."""


class Phase(IntEnum):
    """How far the job of a slot is."""

    FREE = 0
    STARTED = 1
    SUCCEEDED = 2
    """Finished, and its result is in the slot."""
    FINISHED = 3
    """Finished; the outcome is not in the slot."""


class Reply(IntEnum):
    """What the supervisor tells the worker about a job it runs."""

    NONE = 0
    CANCEL = 1
    """Somebody asked for the job to be cancelled."""
    LOST = 2
    """The lease is no longer ours: stop, the outcome will be refused."""


class Entry(NamedTuple):
    """A job on the board."""

    slot: int
    job_id: JobId
    attempt: int
    phase: Phase
    deadline: Micros
    """The tick at which its time is up."""
    result: bytes | None
    """With SUCCEEDED: its result as JSON, or None."""

    @property
    def token(self) -> Token:
        """Which attempt of which job it is."""
        return self.job_id, self.attempt


_MAGIC: Final = 0x0002_4452_4C42  # "BLRD", layout 2
_WORD: Final = 8
_ID_BYTES: Final = 40
_NAME_BYTES: Final = 128

# The header, in words: who writes each stands behind it.
_H_MAGIC: Final = 0  # the worker, once
_H_SLOTS: Final = 1  # the worker, once
_H_FINISHED: Final = 2  # the worker: jobs finished
_H_BEAT: Final = 3  # the worker: the tick at which its loop last ran
_H_REPLIES: Final = 4  # the supervisor: replies written
_H_RENEWED: Final = 5  # the supervisor: leases last until this tick
_H_CUT_SHORT: Final = 6  # the worker: jobs it stopped in order to end
_H_NAME: Final = 7  # the worker, once
_HEADER_WORDS: Final = _H_NAME + _NAME_BYTES // _WORD

# A slot, in words; the body is generation, attempt, deadline, id.
_S_ENTRY: Final = 0
_S_REPLY: Final = 1
_S_LENGTH: Final = 2
_S_BODY: Final = 3
_BODY: Final = struct.Struct(f"=qqq{_ID_BYTES}s")
_S_RESULT: Final = _S_BODY + _BODY.size // _WORD
_SLOT_WORDS: Final = _S_RESULT + MAX_RESULT // _WORD

_STARTED: Final = int(Phase.STARTED)
_SUCCEEDED: Final = int(Phase.SUCCEEDED)
_FINISHED: Final = int(Phase.FINISHED)
_NEXT_GENERATION: Final = 1 << 8
_READS: Final = 8
"""How often an entry that changes while it is read is read again."""


class Board:
    """What one worker runs.

    Of its worker's side, `start` may be called by many threads at once, for each takes a slot
    of its own; everything else is for the worker's loop alone. The supervisor's side is for one
    thread at a time.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._words = memoryview(memory).cast("q")
        self.slots: Final = self._words[_H_SLOTS]
        """How many jobs fit on the board."""
        end = _NAME_BYTES + _H_NAME * _WORD
        name = memory[_H_NAME * _WORD : end].rstrip(b"\0")
        self.worker: Final[WorkerName] = name.decode()
        self._free = list(range(self.slots - 1, -1, -1))
        # What the worker wrote last, to read none of it back: for each slot, its generation.
        self._entries = [0] * self.slots
        self._finished = 0
        self._replies_seen = self._words[_H_REPLIES]

    @classmethod
    def create(cls, path: Path, slots: int, worker: WorkerName) -> Self:
        """Make the board file of a worker. Raises FileExistsError, and OSError if there is no
        room for it.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _reserve(handle, _size(slots), path)
            memory = mmap.mmap(handle, _size(slots))
        finally:
            os.close(handle)
        return cls(_lay_out(memory, slots, worker))

    @classmethod
    def private(cls, slots: int, worker: WorkerName) -> Self:
        """A board that no other process sees."""
        return cls(_lay_out(mmap.mmap(-1, _size(slots)), slots, worker))

    @classmethod
    def open(cls, path: Path) -> Self:
        """The board of a worker, for its supervisor.

        Raises FileNotFoundError, and ValueError for a file that is no whole board.
        """
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(handle).st_size
            if size < _size(1):
                raise ValueError(f"{path} is no board: {size} bytes")
            memory = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        magic, slots = struct.unpack_from("=qq", memory)
        if magic != _MAGIC or size != _size(slots):
            memory.close()
            raise ValueError(f"{path} is no board of this version")
        return cls(memory)

    def close(self) -> None:
        """Unmap the memory; the file stays. Repeated: nothing."""
        self._words.release()
        self._memory.close()

    # The worker's side. Hot: each of start, finish and clear is about a microsecond.

    @property
    def full(self) -> bool:
        """No slot is free: `start` would raise IndexError."""
        return not self._free

    def start(self, job_id: JobId, attempt: int, deadline: Micros) -> int:
        """Put a job on the board that is about to run; returns its slot.

        Raises IndexError if the board is full, ValueError for an id that does not fit.
        """
        name = job_id.encode()
        if len(name) > _ID_BYTES:
            raise ValueError(f"a job's id takes at most {_ID_BYTES} bytes: {job_id!r}")
        slot = self._free.pop()
        base = _HEADER_WORDS + slot * _SLOT_WORDS
        entry = self._entries[slot] = self._entries[slot] + _NEXT_GENERATION
        _BODY.pack_into(self._memory, (base + _S_BODY) * _WORD, entry >> 8, attempt, deadline, name)
        self._words[base] = entry | _STARTED
        return slot

    def finish(self, slot: int, result: bytes | None) -> None:
        """The job succeeded with `result` (JSON): if it fits, no crash runs it again."""
        words = self._words
        base = _HEADER_WORDS + slot * _SLOT_WORDS
        if result is None:
            words[base + _S_LENGTH] = -1
        else:
            size = len(result)
            if size > MAX_RESULT:
                self.finish_other(slot)
                return
            at = (base + _S_RESULT) * _WORD
            self._memory[at : at + size] = result
            words[base + _S_LENGTH] = size
        words[base] = self._entries[slot] | _SUCCEEDED
        self._finished += 1
        words[_H_FINISHED] = self._finished

    def finish_other(self, slot: int) -> None:
        """The job ended in some other way, or with a result that does not fit."""
        words = self._words
        base = _HEADER_WORDS + slot * _SLOT_WORDS
        words[base] = self._entries[slot] | _FINISHED
        self._finished += 1
        words[_H_FINISHED] = self._finished

    def cut_short(self) -> None:
        """A job is handed back unfinished because the worker is to end. Say it before the
        job's slot tells of an end: what the job has started must end with the worker.
        """
        self._words[_H_CUT_SHORT] += 1

    def clear(self, slot: int) -> None:
        """The outcome is stored (or was refused): the slot is free."""
        self._words[_HEADER_WORDS + slot * _SLOT_WORDS] = self._entries[slot]
        self._free.append(slot)

    def reply(self, slot: int) -> Reply:
        """What the supervisor told about the job in this slot."""
        base = _HEADER_WORDS + slot * _SLOT_WORDS
        word = self._words[base + _S_REPLY]
        if word >> 8 != self._words[base] >> 8:
            return Reply.NONE
        return Reply(word & 0xFF)

    def any_reply(self) -> bool:
        """Some reply came since this was last asked; one word is read."""
        count = self._words[_H_REPLIES]
        if count == self._replies_seen:
            return False
        self._replies_seen = count
        return True

    @property
    def renewed_until(self) -> Micros:
        """Leases that were held at the last heartbeat last until this tick; 0: none yet."""
        return self._words[_H_RENEWED]

    def beat(self, tick: Micros) -> None:
        """The worker's loop runs. A worker that misses its jobs' deadlines and no longer
        beats does not respond, and is killed.
        """
        self._words[_H_BEAT] = tick

    # The supervisor's side.

    @property
    def beaten_at(self) -> Micros:
        """The tick of the worker's last `beat`; 0: none yet."""
        return self._words[_H_BEAT]

    @property
    def finished(self) -> int:
        """How many jobs the worker finished since it started, however they ended."""
        return self._words[_H_FINISHED]

    @property
    def running(self) -> int:
        """How many jobs have started and not ended."""
        return sum(word & 0xFF == _STARTED for word in self._words[_HEADER_WORDS::_SLOT_WORDS])

    @property
    def was_cut_short(self) -> bool:
        """The worker, now ended, was in the midst of a job, or has handed one back unfinished."""
        running = any(entry.phase is Phase.STARTED for entry in self.entries())
        return running or self._words[_H_CUT_SHORT] > 0

    def entries(self) -> list[Entry]:
        """The jobs on the board, by slot."""
        return [entry for slot in self._taken() if (entry := self._read(slot)) is not None]

    def tell(self, job_id: JobId, attempt: int, reply: Reply) -> bool:
        """Tell the worker about a job it has started; False: it is not on the board.

        `LOST` is final: a later `CANCEL` does not hide it.
        """
        words = self._words
        for slot in self._taken():
            base = _HEADER_WORDS + slot * _SLOT_WORDS
            generation = words[base] >> 8  # before the entry: a slot reused since is not told
            entry = self._read(slot)
            if entry is None or entry.job_id != job_id or entry.attempt != attempt:
                continue
            word = generation << 8 | reply
            if word > words[base + _S_REPLY]:  # a later generation, or a stronger reply
                words[base + _S_REPLY] = word
                words[_H_REPLIES] += 1
            return True
        return False

    def renew(self, until: Micros) -> None:
        """The leases held a moment ago last until this tick."""
        self._words[_H_RENEWED] = until

    def _taken(self) -> list[int]:
        firsts = self._words[_HEADER_WORDS::_SLOT_WORDS].tolist()
        return [slot for slot, word in enumerate(firsts) if word & 0xFF]

    def _read(self, slot: int) -> Entry | None:
        words = self._words
        base = _HEADER_WORDS + slot * _SLOT_WORDS
        phase, attempt, deadline, name, result = Phase.FREE, 0, 0, b"", None
        for _ in range(_READS):
            first = words[base]
            phase = _phase(first)
            if phase is Phase.FREE:
                return None
            at = (base + _S_BODY) * _WORD
            generation, attempt, deadline, name = _BODY.unpack_from(self._memory, at)
            result = self._result(base) if phase is Phase.SUCCEEDED else None
            if words[base] == first and generation == first >> 8:
                break
        else:  # it changes all the time, or it is damaged: say no more than that it began
            phase, result = Phase.STARTED, None
        job_id = name.rstrip(b"\0").decode(errors="replace")
        return Entry(slot, job_id, attempt, phase, deadline, result)

    def _result(self, base: int) -> bytes | None:
        size = self._words[base + _S_LENGTH]
        if size < 0:
            return None
        at = (base + _S_RESULT) * _WORD
        return self._memory[at : at + min(size, MAX_RESULT)]


def _reserve(handle: int, size: int, path: Path) -> None:
    """Take all the room now: to write into a mapped hole of a full disk is death by SIGBUS."""
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        path.unlink()
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


def _size(slots: int) -> int:
    return (_HEADER_WORDS + slots * _SLOT_WORDS) * _WORD


def _lay_out(memory: mmap.mmap, slots: int, worker: WorkerName) -> mmap.mmap:
    name = worker.encode()
    if slots < 1 or len(name) > _NAME_BYTES:
        raise ValueError(f"no board for {slots} slots of a worker named {worker!r}")
    memory[_H_NAME * _WORD : _H_NAME * _WORD + len(name)] = name
    struct.pack_into("=qq", memory, 0, _MAGIC, slots)
    return memory


def _phase(word: int) -> Phase:
    try:
        return Phase(word & 0xFF)
    except ValueError:
        return Phase.STARTED
