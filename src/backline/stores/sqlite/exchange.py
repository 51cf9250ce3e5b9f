"""The hot path: record how runs ended and hand out new leases, in one commit."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from backline import fairness, limits, policy
from backline.job import (
    MAX_ERRORS,
    Ack,
    Acked,
    Charge,
    JobId,
    LeasedJob,
    Micros,
    Step,
    WorkerName,
)
from backline.states import TERMINAL, State
from backline.store import Demand, Exchange, Hint
from backline.stores.sqlite import endings, gates, moves, paces, rows, sharing, steps, waits
from backline.stores.sqlite.follow import follow
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import LIMITED
from backline.stores.sqlite.transaction import JobPlace, QueueRow, Transaction, dumps

_ACKED: Final = statement("acked")
_HELD_PLAIN: Final = statement("held_plain")
_SUCCEED: Final = statement("succeed")
_ACK: Final = statement("ack")
_BEGIN_CALL: Final = statement("begin_call")
_REPEATS: Final = statement("repeats")
_LEASE: Final = statement("lease")
_LEASE_AGED: Final = statement("lease_aged")
_LEASED: Final = statement("leased")
_LEASED_ROWS: Final = statement("leased_rows")
_NEXT_IN: Final = statement("next_in")
_EXPIRING: Final = statement("expiring")
_ANY_READY: Final = statement("any_ready")
_MOVE_QUEUE: Final = statement("move_queue")
_LIMITED_QUEUES: Final = statement("limited_queues")

_ALREADY: Final = -1
_EXPIRE_BITE: Final = 1_000
_PLAIN_KEEPS: Final = 8
"""Successes are recorded by one statement for each `keep`; rarer ones go with the rest."""


class _Met(msgspec.Struct, array_like=True, gc=False):
    """What an ack met: the running job, or why it does not apply."""

    seq: int
    queue: int
    lane: str
    cancel: bool
    ties: int


_Over: TypeAlias = defaultdict[int, list[int]]
"""Jobs that ended, by their ties."""

_met: Final = msgspec.json.Decoder(list[_Met])
_leased: Final = msgspec.json.Decoder(list[LeasedJob])


class ExchangeCall(msgspec.Struct, frozen=True):
    """The arguments of `Store.exchange`."""

    worker: WorkerName
    call: int
    acks: Sequence[Ack]
    demand: Demand
    ttl: Micros


def exchange(tx: Transaction, call: ExchangeCall) -> Exchange:
    """See `backline.store.Store.exchange`."""
    acked = _settle(tx, call.worker, call.acks) if call.acks else []
    follow(tx)
    queues = tx.queues({queue for queue, _ in call.demand}) if call.demand else {}
    jobs = _lease(tx, call, queues) if call.demand else []
    follow(tx)
    if _made_room(tx, queues):
        tx.hints.add(Hint.WORK)  # what was held back by a limit may run elsewhere
    if not call.demand:
        return Exchange(acked, [])
    ids = dumps([queue.id for queue in queues.values()])
    [waits] = tx.db.rows(_NEXT_IN, {"queues": ids, "now": tx.now, "tick": tx.tick})
    waits = (*waits, _rate_opens_in(tx, call.demand, queues))
    next_in = min((wait for wait in waits if wait is not None), default=None)
    return Exchange(acked, jobs, next_in)


def _made_room(tx: Transaction, queues: Mapping[str, QueueRow]) -> bool:
    """Whether more jobs of a queue with a limit ended here than were leased."""
    relieved = tx.relieved
    known = {queue.id: queue for queue in queues.values()}
    if any(queue in known and known[queue].concurrency is not None for queue in relieved):
        return True
    others = [queue for queue in relieved if queue not in known]
    return bool(others and tx.db.value(_LIMITED_QUEUES, {"queues": dumps(others)}))


def _rate_opens_in(
    tx: Transaction, demand: Demand, queues: Mapping[str, QueueRow]
) -> Micros | None:
    """How long until the rate of a queue lets a job start that is asked for; None: none is
    held back by one."""
    waits: list[Micros] = []
    for (name, lane), wanted in demand.items():
        queue = queues.get(name)
        if queue is None or wanted <= 0 or queue.pacing is None:
            continue
        if limits.startable(queue.pacing, queue.arrival, tx.tick):
            continue
        opens = limits.opens_at(queue.pacing, queue.arrival, 1)
        if opens is not None and tx.db.value(_ANY_READY, {"queue": queue.id, "lane": lane}):
            waits.append(max(0, opens - tx.tick))
    return min(waits, default=None)


def _settle(tx: Transaction, worker: WorkerName, acks: Sequence[Ack]) -> list[Acked]:
    over: _Over = defaultdict(list)
    done = _succeed_plain(tx, worker, acks, over)
    rest = [ack for ack in acks if ack.id not in done] if len(done) < len(acks) else []
    answers = iter(_settle_each(tx, worker, rest, over) if rest else ())
    endings.follow(tx, over)
    if not rest:
        return [Acked.APPLIED] * len(acks)
    return [Acked.APPLIED if ack.id in done else next(answers) for ack in acks]


def _succeed_plain(
    tx: Transaction, worker: WorkerName, acks: Sequence[Ack], over: _Over
) -> set[JobId]:
    """Record the jobs that ran well and left nothing to keep; returns which it recorded.

    Most jobs end so, and what all of them change is the same: two statements for each `keep`.
    If one of them does not hold its lease, none of that `keep` is recorded here.
    """
    done: set[JobId] = set()
    if len({ack.id for ack in acks}) < len(acks):
        return done  # the first of two about one job counts
    by_keep: defaultdict[Micros, dict[JobId, int]] = defaultdict(dict)
    for ack in acks:
        if _is_plain(ack) and (ack.keep in by_keep or len(by_keep) < _PLAIN_KEEPS):
            by_keep[ack.keep][ack.id] = ack.attempt
    for keep, runs in by_keep.items():
        held = tx.db.rows(_HELD_PLAIN, {"runs": dumps(runs)})
        if sum(n for _, _, _, n, _ in held) < len(runs):
            continue
        for queue, lane, ties, n, seqs in held:
            params = {"seqs": seqs, "worker": worker, "now": tx.now, "keep": keep}
            tx.moved(queue, lane, State.RUNNING, State.SUCCEEDED, n)
            if ties:
                over[ties] += endings.succeed(tx, params, ties)
            else:
                tx.db.run(_SUCCEED, params)
        done.update(runs)
    return done


def _is_plain(ack: Ack) -> bool:
    return (
        ack.state is State.SUCCEEDED
        and ack.result is None
        and ack.error is None
        and ack.lane is None
        and ack.charge is Charge.NONE
        and not ack.if_overdue
        and not ack.steps
    )


def _settle_each(
    tx: Transaction, worker: WorkerName, acks: Sequence[Ack], over: _Over
) -> list[Acked]:
    tokens = [(ack.id, ack.attempt, int(ack.if_overdue)) for ack in acks]
    params = {"acks": dumps(tokens), "worker": worker, "tick": tx.tick}
    met = _met.decode(tx.db.value(_ACKED, params))
    answers: list[Acked] = []
    book = _Book(tx, worker)
    applied: dict[JobId, int] = {}
    for ack, job in zip(acks, met, strict=True):
        if applied and applied.get(ack.id) == ack.attempt:
            answers.append(Acked.ALREADY)  # a few lines above
        elif job.seq < 0:
            answers.append(Acked.ALREADY if job.seq == _ALREADY else Acked.LOST)
        else:
            applied[ack.id] = ack.attempt
            book.enter(ack, job)
            answers.append(Acked.APPLIED)
    book.write(over)
    return answers


class _Book:
    """The acks of one call that apply, to be recorded together."""

    def __init__(self, tx: Transaction, worker: WorkerName) -> None:
        self._tx = tx
        self._worker = worker
        self._acks: list[tuple[Any, ...]] = []
        self._results: list[bytes] = []
        self._start = 1
        self._moved: Counter[tuple[int, str, State, str]] = Counter()
        self._steps: list[Step] = []
        self._over: _Over = defaultdict(list)
        self._rejoining: list[JobPlace] = []
        self._pausing: list[int] = []

    def enter(self, ack: Ack, job: _Met) -> None:
        """An ack that applies to a running job."""
        target: State = ack.state
        if job.cancel and target not in TERMINAL:
            target = State.CANCELLED
        lane = ack.lane or job.lane
        if job.ties & LIMITED:
            target = self._again(job, target, lane)
        self._acks.append(self._line(ack, job.seq, target))
        self._moved[job.queue, job.lane, target, lane] += 1
        if ack.asleep and target is State.SCHEDULED:
            self._tx.count(job.queue, "asleep", lane, 1)
        self._steps += ack.steps
        if job.ties and target in TERMINAL:
            self._over[job.ties].append(job.seq)

    def _again(self, job: _Met, target: State, lane: str) -> State:
        """What a job with limits does that is to run again."""
        if target is State.SCHEDULED:
            self._pausing.append(job.seq)
        elif target is State.READY:
            self._rejoining.append(JobPlace(job.seq, job.queue, lane, State.WAITING, job.ties))
            return State.WAITING
        return target

    def _line(self, ack: Ack, seq: int, target: State) -> tuple[Any, ...]:
        now, charge = self._tx.now, ack.charge
        start = length = 0
        if ack.result is not None:
            result = bytes(ack.result)
            start, length = self._start, len(result)
            self._results.append(result)
            self._start += length
        return (
            seq,
            target,
            now + ack.delay if target is State.SCHEDULED else None,
            now + ack.keep if target in TERMINAL else None,
            int(charge is Charge.FAILURE),
            -1 if charge is Charge.CLEAN else int(charge is Charge.LOSS),
            int(charge is Charge.RELEASE),
            ack.lane,
            start,
            length,
            None if ack.error is None else rows.dated(ack.error, now),
            int(ack.asleep and target is State.SCHEDULED),
        )

    def write(self, over: _Over) -> None:
        """Record them all, with everything that follows from it; `endings.follow` is to be called
        for what is over now, too."""
        tx = self._tx
        if self._acks:
            params: dict[str, object] = {
                "acks": dumps(self._acks),
                "results": b"".join(self._results),
            }
            params |= {"worker": self._worker, "now": tx.now, "errors": MAX_ERRORS}
            params["put_back"] = fairness.PUT_BACK
            tx.db.run(_ACK, params)
        if self._steps:
            steps.keep(tx, self._steps)
        for (queue, lane, target, to_lane), n in self._moved.items():
            tx.moved(queue, lane, State.RUNNING, target, n, to_lane=to_lane)
        for ties, seqs in self._over.items():
            endings.ran(tx, seqs, ties)
            over[ties] += seqs
        if self._pausing:
            gates.leave(tx, self._pausing)
        if self._rejoining:
            gates.join(tx, self._rejoining, arrive=False)
        if self._steps:
            waits.parked(tx, self._steps)


def _lease(tx: Transaction, call: ExchangeCall, queues: Mapping[str, QueueRow]) -> list[LeasedJob]:
    params = {"worker": call.worker, "call": call.call, "tick": tx.tick}
    if not tx.db.run(_BEGIN_CALL, params):
        again = tx.db.value(_REPEATS, params)
        return sharing.in_order(_read_leased(tx, call)[0], queues) if again else []
    expiring = tx.db.value(_EXPIRING, {"now": tx.now})
    if expiring:
        moves.expire(tx, _EXPIRE_BITE)
    jobs: list[LeasedJob] = []
    want = dict(call.demand)
    while _grant(tx, call, queues, want, expiring):
        jobs, unreadable = _read_leased(tx, call)
        if not unreadable:
            break
        have = Counter((job.queue, job.lane) for job in jobs)
        queues = tx.queues(queues)  # the places of the unreadable are free again
        want = {key: n - have[key] for key, n in call.demand.items()}
    return sharing.in_order(jobs, queues)


def _grant(
    tx: Transaction,
    call: ExchangeCall,
    queues: Mapping[str, QueueRow],
    want: Demand,
    expiring: int,
) -> int:
    """Lease ready jobs; returns how many."""
    leased = 0
    sharing.settle(tx)
    for (name, lane), wanted in want.items():
        queue = queues.get(name)
        if queue is None or queue.paused:
            continue
        most = _leasable(tx, queue, wanted)
        if most <= 0:
            continue
        got = tx.db.run(
            _LEASE if queue.ageing is None else _LEASE_AGED,
            {
                "queue": queue.id,
                "lane": lane,
                "want": most,
                "worker": call.worker,
                "call": call.call,
                "until": tx.tick + call.ttl,
                "now": tx.now,
                "expiring": expiring,
                **({} if queue.ageing is None else {"ageing": queue.ageing}),
            },
        )
        if got:
            leased += got
            tx.moved(queue.id, lane, State.READY, State.RUNNING, got)
            queue.running += got
            if queue.pacing is not None:
                queue.arrival = limits.started(queue.pacing, queue.arrival, tx.tick, got)
                tx.db.run(_MOVE_QUEUE, {"queue": queue.id, "arrival": queue.arrival})
    if leased and any(queue.paced for queue in queues.values()):
        paces.leased(tx, call.worker, call.call)
    return leased


def _leasable(tx: Transaction, queue: QueueRow, most: int) -> int:
    """How many of the jobs that are wanted the limits of the queue itself allow."""
    if queue.concurrency is not None:
        most = min(most, queue.concurrency - queue.running)
    if queue.pacing is not None:
        most = min(most, limits.startable(queue.pacing, queue.arrival, tx.tick))
    return most


def _read_leased(tx: Transaction, call: ExchangeCall) -> tuple[list[LeasedJob], int]:
    """The jobs that this call leased and that still run, and how many of them went dead
    because they cannot be read."""
    params = {"worker": call.worker, "call": call.call}
    [(count, text)] = tx.db.rows(_LEASED, params)
    if not count:
        return [], 0
    try:
        jobs = _leased.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        jobs = []
    if len(jobs) != count:
        jobs = _salvage(tx, call)
    return jobs, count - len(jobs)


def _salvage(tx: Transaction, call: ExchangeCall) -> list[LeasedJob]:
    jobs: list[LeasedJob] = []
    book = _Book(tx, call.worker)
    for row in tx.db.rows(_LEASED_ROWS, {"worker": call.worker, "call": call.call}):
        seq, queue, ties, *cells = row
        try:
            jobs.append(rows.leased_job(cells))
        except (msgspec.MsgspecError, ValueError) as error:
            job_id, attempt, lane, terms = rows.text(cells[0]), cells[1], cells[4], cells[8]
            ack = policy.malformed(job_id, attempt, rows.terms_of(terms), str(error))
            book.enter(ack, _Met(seq, queue, lane, cancel=False, ties=ties))
    over: _Over = defaultdict(list)
    book.write(over)
    endings.follow(tx, over)
    return jobs
