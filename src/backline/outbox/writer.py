"""Writing jobs, events and completions into a caller's transaction."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from backline.clock import Clock
from backline.errors import AlreadyCompleted, BacklineError, ConfigError, StoreRefused
from backline.fanout import Publication
from backline.faults import fault
from backline.job import JobId, JobRequest, Micros
from backline.outbox import tables
from backline.outbox.caller import (
    Caller,
    caller_of,
    file_of,
    is_async,
    must_be_in_transaction,
)
from backline.outbox.outbox import Outbox, Relayed
from backline.task.transactions import Completion, DoneStep

LOOK_S: Final = 1.0
"""How long a look at a committed completion may wait for the caller's database."""

_encode: Final = msgspec.json.Encoder().encode

T = TypeVar("T")


Recorded: TypeAlias = tuple[int, str | None]
"""Which attempt did a step, and what that returned, as JSON."""


class Row(NamedTuple):
    """What an outbox holds of a job or of an event."""

    id: str
    queue: str
    """`tables.EVENT`: it is an event."""
    body: str
    """JSON."""


class Writer(ABC):
    """Writes into callers' transactions. Safe from any thread; statements run in the caller's.

    Nothing here begins, commits or rolls back: `within` is the caller's connection, in the
    caller's transaction.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    def relayed(self) -> Sequence[Relayed]:
        """Where a relay finds what was written."""

    @abstractmethod
    def completion(self, job_id: JobId) -> Completion | None:
        """The committed completion of a job, by connections of our own. Raises StoreError."""

    @abstractmethod
    def _write(self, caller: Caller, rows: Sequence[Row], now: Micros) -> None: ...

    @abstractmethod
    def _complete(
        self, caller: Caller, job_id: JobId, attempt: int, result: str | None
    ) -> int | None:
        """Note a completion; the attempt of one that was noted earlier, which stands."""

    @abstractmethod
    def _recorded(self, caller: Caller, job_id: JobId, step: str) -> Recorded | None:
        """The record of a step."""

    @abstractmethod
    def _record(self, caller: Caller, job_id: JobId, step: str, done: Recorded) -> bool:
        """Record a step, unless it is; whether this did."""

    def write(self, requests: Sequence[JobRequest], within: object) -> None:
        """Write jobs; what counts from the enqueue counts from now.

        Raises ConfigError, StoreRefused, and whatever the caller's driver raises.
        """
        caller = _in_transaction(within)
        now = self._clock.now()
        rows = [Row(one.id, one.queue, encode(settled(one, now))) for one in requests]
        self._write(caller, rows, now)

    async def awrite(self, requests: Sequence[JobRequest], within: Any) -> None:
        """As `write`; `within` may be one of SQLAlchemy's async connections or sessions."""
        await _run(within, lambda sync: self.write(requests, sync))

    def publish(self, event: Publication, within: object) -> None:
        """Write an event, which is published now, if the caller commits.

        Raises ConfigError, StoreRefused, and whatever the caller's driver raises.
        """
        caller = _in_transaction(within)
        now = self._clock.now()
        dated = msgspec.structs.replace(event, at=now)
        self._write(caller, [Row(event.id, tables.EVENT, encode(dated))], now)

    async def apublish(self, event: Publication, within: Any) -> None:
        """As `publish`; `within` may be one of SQLAlchemy's async connections or sessions."""
        await _run(within, lambda sync: self.publish(event, sync))

    def complete(self, job_id: JobId, attempt: int, result: Raw | None, within: object) -> None:
        """Write that a run of the job completes it.

        Raises AlreadyCompleted if an earlier attempt's transaction committed the same, and
        BacklineError if this attempt has: whether that one was committed is not known yet.
        """
        fault("complete.before_insert")
        text = None if result is None else bytes(result).decode()
        earlier = self._complete(_in_transaction(within), job_id, attempt, text)
        if earlier == attempt:
            raise BacklineError(
                f"attempt {attempt} of job {job_id} called complete twice; once is enough, and "
                "after a rollback it may be called again"
            )
        if earlier is not None:
            raise AlreadyCompleted(job_id)
        fault("complete.after_insert")

    async def acomplete(self, job_id: JobId, attempt: int, result: Raw | None, within: Any) -> None:
        """As `complete`; `within` may be one of SQLAlchemy's async connections or sessions."""
        await _run(within, lambda sync: self.complete(job_id, attempt, result, sync))

    async def recorded(
        self, job_id: JobId, attempt: int, step: str, within: Any
    ) -> DoneStep | None:
        """What a step returned that was done in a transaction of the caller's.

        Raises BacklineError if this attempt did it.
        """
        found = await _run(within, lambda sync: self._recorded(_in_transaction(sync), job_id, step))
        if found is None:
            return None
        by, value = found
        if by == attempt:
            raise BacklineError(
                f"attempt {attempt} of job {job_id} comes to step {step!r} twice: number the "
                "names; after a rollback it may come to it again"
            )
        return DoneStep(None if value is None else Raw(value.encode()))

    async def record(
        self, job_id: JobId, attempt: int, step: str, value: Raw | None, within: Any
    ) -> None:
        """Record a step, if the caller commits. Raises BacklineError if another attempt has."""
        text = None if value is None else bytes(value).decode()

        def write(sync: object) -> bool:
            return self._record(_in_transaction(sync), job_id, step, (attempt, text))

        if not await _run(within, write):
            raise BacklineError(
                f"another run of job {job_id} has done step {step!r} meanwhile: let this pass, so "
                "that your transaction is rolled back"
            )


class Outboxes(Writer):
    """The outboxes of an app: what is written goes to tables in the caller's own database."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._declared: list[Outbox] = []

    def __iter__(self) -> Iterator[Outbox]:
        return iter(self._declared)

    def relayed(self) -> Sequence[Relayed]:
        """The databases that were declared."""
        return self._declared

    def declare(self, outbox: Outbox) -> Outbox:
        """Add a database; one that was declared before is returned as it is."""
        for known in self._declared:
            if known.path == outbox.path:
                return known
        self._declared.append(outbox)
        return outbox

    def completion(self, job_id: JobId) -> Completion | None:
        """The committed completion of a job, by connections of our own. Raises StoreError."""
        for outbox in self._declared:
            database = outbox.open(patience_s=LOOK_S)
            try:
                found = database.completed(job_id)
            finally:
                database.close()
            if found is not None:
                result = found[1]
                return Completion(None if result is None else Raw(result))
        return None

    def undeclared(self, file: str) -> ConfigError:
        """What to say of a connection to a database that is no outbox."""
        where = file or "a database in memory, which no relay can see"
        declared = ", ".join(outbox.url for outbox in self._declared) or "none"
        url = f"sqlite:///{file}" if file else "sqlite:///business.db"
        return ConfigError(
            f"within= is a connection to {where}; the declared outboxes are: {declared}. Declare "
            f'it with app.outbox("{url}"), and make its tables with '
            f"`backline migrate --outbox {url}`"
        )

    def _outbox_of(self, caller: Caller) -> Outbox:
        file = file_of(caller)
        for outbox in self._declared:
            if outbox.holds(file):
                return outbox
        raise self.undeclared(file)

    def _write(self, caller: Caller, rows: Sequence[Row], now: Micros) -> None:
        outbox = self._outbox_of(caller)
        with _explained(outbox):
            if len(rows) == 1:
                caller.change(tables.WRITE, *rows[0], now)
            else:
                caller.change_many(tables.WRITE, [(*row, now) for row in rows])
        outbox.ring()

    def _complete(
        self, caller: Caller, job_id: JobId, attempt: int, result: str | None
    ) -> int | None:
        with _explained(self._outbox_of(caller)):
            if caller.change(tables.COMPLETE, job_id, attempt, result, self._clock.now()):
                return None
            [(earlier, _)] = caller.read(tables.COMPLETED, job_id)
            return int(earlier)

    def _recorded(self, caller: Caller, job_id: JobId, step: str) -> Recorded | None:
        with _explained(self._outbox_of(caller)):
            rows = caller.read(tables.RECORDED, job_id, step)
        return next(((attempt, value) for attempt, value in rows), None)

    def _record(self, caller: Caller, job_id: JobId, step: str, done: Recorded) -> bool:
        with _explained(self._outbox_of(caller)):
            return caller.change(tables.RECORD, job_id, step, *done, self._clock.now()) > 0


def encode(content: JobRequest | Publication) -> str:
    """A job or an event as a row has it."""
    return _encode(content).decode()


def settled(request: JobRequest, now: Micros) -> JobRequest:
    """The request with its times counted from now, not from when it reaches the store."""
    changes: dict[str, Any] = {}
    if request.delay and request.run_at is None:
        changes |= {"delay": 0, "run_at": now + request.delay}
    if request.expires_in is not None:
        changes |= {"expires_in": None, "expires_at": now + request.expires_in}
    return msgspec.structs.replace(request, **changes) if changes else request


def _in_transaction(within: object) -> Caller:
    caller = caller_of(within)
    must_be_in_transaction(caller)
    return caller


async def _run(within: Any, work: Callable[[Any], T]) -> T:
    if is_async(within):
        found: T = await within.run_sync(work)
        return found
    return work(within)


@contextmanager
def _explained(outbox: Outbox) -> Iterator[None]:
    try:
        yield
    except BacklineError:
        raise
    except Exception as error:
        if "no such table: backline_" in str(error):
            raise StoreRefused(tables.missing(outbox.path)) from error
        raise
