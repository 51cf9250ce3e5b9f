"""Random lives of a store, step for step beside the model.

def test_the_model_agrees(tmp_path):
    check_against_model(lambda clock: MyStore(fresh_path(), clock=clock))
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backline.clock import Clock
from backline.job import (
    DAY,
    SECOND,
    Ack,
    Acked,
    Awaited,
    Charge,
    Enqueued,
    JobRequest,
    Lane,
    LeasedJob,
    OnConflict,
    Refused,
    Step,
)
from backline.parents import After
from backline.states import State
from backline.store import Demand, Filter, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import find_all, parked
from backline.testing.fanning import FanoutRules
from backline.testing.kept import COMPARED, Kept
from backline.testing.lives import (
    AWAITED,
    BATCHES,
    DEMANDS,
    LINES,
    PICKS,
    QUEUES,
    STEPS,
    TERMS,
    drawn,
)
from backline.testing.model import Model
from backline.testing.operators import MANY, OperatorRules

T = TypeVar("T")

ROLES: Final = ("w1", "w2")


class StoreMachine(FanoutRules, OperatorRules, RuleBasedStateMachine):
    """Does the same to a store and to the model, and compares all that both know."""

    open_store: Callable[[Clock], Store]
    """A new, empty store each time; not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.model = Model()
        self.store = type(self).open_store(self.clock)
        self.run(self.store.open())
        self.batch: list[list[JobRequest]] = []
        self.leases: list[LeasedJob] = []
        self.calls = 0
        self.names = {role: role for role in ROLES}
        self.last: dict[str, tuple[int, Sequence[Ack], Demand]] = {}
        self.parents: list[str] = []
        """Jobs and groups that others may be told to wait for."""
        self.flows: list[str] = []
        self._set_time()

    def run(self, awaited: Awaitable[T]) -> T:
        """The answer of a store's method."""

        async def wait() -> T:
            return await awaited

        return self.loop.run_until_complete(wait())

    def teardown(self) -> None:
        """Close what the run opened."""
        self.run(self.store.close())
        self.loop.close()

    @initialize(batch=BATCHES)
    def begin(self, batch: list[list[dict[str, Any]]]) -> None:
        """No life without jobs."""
        self.enqueue(batch)

    @rule(batch=BATCHES)
    def enqueue(self, batch: list[list[dict[str, Any]]]) -> None:
        """New jobs."""
        calls: list[list[JobRequest]] = []
        taken: set[str] = set()
        new_parents: list[str] = []
        for call in batch:
            calls.append([])
            self.flows.append(self.clock.new_id())
            earlier: list[str] = []
            for fields in call:
                new = self._request(fields, earlier)
                keys = {key for key in (new.unique_key, new.idempotency_key) if key is not None}
                if taken.isdisjoint(keys):
                    calls[-1].append(new)
                    earlier += [new.id] if new.group is None else [new.id, new.group]
                taken |= keys
            new_parents += earlier
        self.batch = calls
        self._enqueue()
        self.parents += new_parents

    @rule(key=st.sampled_from(["k", "l"]), most=st.sampled_from([3 * SECOND, 40 * SECOND]))
    def put_off(self, key: str, most: int) -> None:
        """A job that is to start once it is quiet, in the place of the one before."""
        fields = {"delay": 30 * SECOND, "max_wait": most, "on_conflict": OnConflict.REPLACE}
        fields |= {"after": [], "group": None}
        self.enqueue([[{"queue": "a", "unique_key": key, "terms": TERMS, **fields}]])

    @precondition(lambda self: self.batch)
    @rule()
    def enqueue_again(self) -> None:
        """The last batch: its reply was lost (I5)."""
        known = [self.model.jobs.get(job.id) for call in self.batch for job in call]
        purged = [job for job in known if job is not None and job.purged]
        if all(known) and all((job.finished_at or 0) + DAY > self.model.now for job in purged):
            self._enqueue()

    @rule(role=st.sampled_from(ROLES), picks=PICKS, endings=st.data(), demand=DEMANDS)
    def exchange(self, role: str, picks: list[int], endings: st.DataObject, demand: Demand) -> None:
        """Acks of what runs and of leases that are over, and demand."""
        leases = self._leases(picks)
        acks = [Ack(lease.id, lease.attempt, **drawn(endings, lease)) for lease in leases]
        self.calls += 1
        self.last[role] = (self.calls, acks, demand)
        self._exchange(role)

    @rule(role=st.sampled_from(ROLES))
    def work(self, role: str) -> None:
        """Finish what runs longest, lease what there is: what workers do all day."""
        running = [le for le in self.leases if self.model.runs(le.id, le.attempt)]
        acks = [Ack(le.id, le.attempt, State.SUCCEEDED, keep=SECOND) for le in running[:2]]
        self.calls += 1
        self.last[role] = (self.calls, acks, dict.fromkeys(LINES, 2))
        self._exchange(role)

    @rule(role=st.sampled_from(ROLES), awaited=st.sampled_from(AWAITED), most=st.integers(1, 3))
    def park(self, role: str, awaited: Awaited, most: int) -> None:
        """Let the newest that run wait for an event."""
        running = [le for le in self.leases if self.model.runs(le.id, le.attempt)]
        acks = [parked(lease, awaited, SECOND) for lease in running[-most:]]
        self.calls += 1
        self.last[role] = (self.calls, acks, {})
        self._exchange(role)

    @rule(role=st.sampled_from(ROLES))
    def exchange_again(self, role: str) -> None:
        """The worker's last call: its reply was lost (I5)."""
        if role in self.last:
            self._exchange(role)

    @rule(picks=PICKS, ttl=st.sampled_from([SECOND, 60 * SECOND]))
    def extend(self, picks: list[int], ttl: int) -> None:
        """Leases new and old."""
        leases = self._leases(picks)
        assert self.run(self.store.extend(leases, ttl)) == self.model.extend(leases, ttl)

    @rule(picks=PICKS, name=st.sampled_from("xyz"), fields=STEPS)
    def record(self, picks: list[int], name: str, fields: dict[str, Any]) -> None:
        """A step of leases new and old: a sleep, or a wait."""
        steps = [Step(le.id, le.attempt, name, **fields) for le in self._leases(picks)]
        assert self.run(self.store.record(steps)) == self.model.record(steps)

    @rule(step=st.sampled_from(["1ms", "1s", "1s", "1s", "31s", "31s", "1h", "2d"]))
    def wait(self, step: str) -> None:
        """Time passes; what expires by it is moved before anybody can lease it."""
        self.clock.advance(step)
        self._set_time()
        self.expire()
        if step == "2d":
            self.parents, self.flows = [], []
            self.last = {}  # a store may forget in a day what it would need for a repeat

    @rule(step=st.sampled_from([1, 3600]))
    def step_wall(self, step: int) -> None:
        """The wall clock is set, forward only: what a step back does to a key that was free
        already is the store's affair."""
        self.clock.step_wall(step)
        self._set_time()
        self.expire()

    @rule()
    def promote(self) -> None:
        """All that is due."""
        assert self.run(self.store.promote(MANY)) == self.model.promote()

    @rule()
    def expire(self) -> None:
        """All that is past its expiry."""
        assert self.run(self.store.expire(MANY)) == self.model.expire()

    @rule()
    def sweep(self) -> None:
        """All that is past its keep."""
        self.run(self.store.sweep(MANY))
        self.model.sweep()

    @rule(role=st.sampled_from(ROLES))
    def restart(self, role: str) -> None:
        """The worker dies: its name is retired, and what it held is put back."""
        name = self.names[role]
        self.run(self.store.retire(name))
        self.model.retired.add(name)
        self.calls += 1
        self._exchange_as(name, self.calls, (), {(queue, Lane.MAIN): 9 for queue in QUEUES})
        held = self.run(self.store.held(name))
        acks = [Ack(lease.id, lease.attempt, State.READY) for lease in held]
        self.calls += 1
        self._exchange_as("supervisor", self.calls, acks, {})
        self.names[role] = f"{role}-{self.calls}"
        self.last.pop(role, None)

    @rule()
    def reap(self) -> None:
        """What is overdue goes back, if it still is."""
        over = [lease.id for lease in self.run(self.store.overdue(MANY))]
        expected = self.model.overdue()
        assert sorted(over) == sorted(expected)
        untils = [self.model.jobs[job_id].until for job_id in over]
        assert untils == sorted(untils)
        attempts = [(job_id, self.model.jobs[job_id].attempt) for job_id in over]
        acks = [Ack(i, n, State.READY, charge=Charge.LOSS, if_overdue=True) for i, n in attempts]
        self.calls += 1
        self._exchange_as("reaper", self.calls, acks, {})

    @invariant()
    def same(self) -> None:
        """Every job, every count, every lease."""
        kept = {job.request.id: job for job in self.model.present()}
        records = self.run(find_all(self.store))
        assert [record.id for record in records] == sorted(kept, reverse=True)
        for record in records:
            job = kept[record.id]
            ours = {name: getattr(record, name) for name in COMPARED}
            assert ours == {name: getattr(job, name) for name in COMPARED}, record.id
        for stats in self.run(self.store.stats()):
            mine = [job for job in kept.values() if job.queue == stats.queue]
            assert dict(stats.counts) == _counts(mine)
            ready = [job for job in mine if job.state is State.READY]
            assert stats.asleep == sum(job.asleep for job in mine)
            assert stats.cells == sum(job.lane is Lane.CELL for job in ready)
            ready.sort(key=lambda job: job.position, reverse=True)
            heads = {job.level: job for job in ready}.values()
            assert stats.oldest_ready == min((job.due for job in heads), default=None)
        for flow in self.flows:
            found = self.run(find_all(self.store, Filter(flow=flow)))
            assert found == [record for record in records if record.flow == flow]
        assert self.run(self.store.steps([*kept])) == self.model.steps([*kept])
        assert self.run(self.store.flows(self.flows)) == [
            self.model.flows.stats(f) for f in self.flows
        ]
        for worker in self.names.values():
            held = {(h.id, h.attempt, h.until) for h in self.run(self.store.held(worker))}
            running = [j for j in kept.values() if j.state is State.RUNNING and j.worker == worker]
            assert held == {(j.request.id, j.attempt, j.until) for j in running}

    def _request(self, fields: dict[str, Any], earlier: list[str]) -> JobRequest:
        """A job that waits for some of those before it, in this call or another."""
        group = None if fields["group"] is None else f"{self.flows[-1][:36]}.{fields['group']}"
        groups = self.model.flows.groups
        known = [one for one in self.parents if one in self.model.jobs or one in groups]
        pool = [one for one in known + earlier if one != group]
        after = {pool[-1 - n % len(pool)]: on for n, on in fields["after"] if pool}
        ties = {"after": tuple(After(*pair) for pair in after.items()), "group": group}
        flow = None if group is None else self.flows[-1]
        return JobRequest(id=self.clock.new_id(), task="t", flow=flow, **fields | ties)

    def _set_time(self) -> None:
        self.model.now, self.model.tick = self.clock.now(), self.clock.tick()

    def _leases(self, picks: list[int]) -> list[LeasedJob]:
        """Small picks are of what runs, newest first; large ones of every lease there was."""
        runs = [le for le in self.leases if self.model.runs(le.id, le.attempt)]
        pools = [runs if n <= 5 and runs else self.leases for n in picks]
        return [pool[-1 - n % len(pool)] for n, pool in zip(picks, pools, strict=True) if pool]

    def _enqueue(self) -> None:
        ours = self.run(self.store.enqueue(self.batch))
        assert [_without_rate(a) for a in ours] == self.model.enqueue(self.batch)

    def _exchange(self, role: str) -> None:
        call, acks, demand = self.last[role]
        self._exchange_as(self.names[role], call, acks, demand)

    def _exchange_as(self, worker: str, call: int, acks: Sequence[Ack], demand: Demand) -> None:
        ours = self.run(self.store.exchange(worker, call, acks, demand, 30 * SECOND))
        repeat = self.model.calls.get(worker, (None,))[0] == call
        acked, granted, next_in = self.model.exchange(worker, call, acks, demand, 30 * SECOND)
        for ack, mine, expected in zip(acks, ours.acks, acked, strict=True):
            # Of a job that was purged, a store may no longer know who settled it.
            gone = self.model.jobs[ack.id].purged and mine is not Acked.APPLIED
            assert mine is expected or gone
        assert ours.next_in == next_in
        given = [(job.id, job.attempt) for job in ours.jobs]
        if repeat:
            assert sorted(given) == sorted(granted)
            return
        self.leases += ours.jobs
        by_line: dict[tuple[str, Lane], list[tuple[str, int]]] = {}
        for job in ours.jobs:
            by_line.setdefault((job.queue, job.lane), []).append((job.id, job.attempt))
        ordered = [token for line in demand for token in by_line.get(line, [])]
        assert (len(given), ordered) == (len(granted), granted)


def _counts(jobs: Sequence[Kept]) -> dict[State, int]:
    return {state: sum(job.state is state for job in jobs) for state in State}


def _without_rate(answer: list[Enqueued] | Refused) -> list[Enqueued] | Refused:
    if isinstance(answer, list):
        return answer
    return Refused(answer.queue, answer.depth, answer.max_depth, 0.0)


def check_against_model(
    open_store: Callable[[Clock], Store],
    *,
    examples: int = 60,
    steps: int = 40,
    shrink: bool = True,
) -> None:
    """Fail if any of `examples` random lives of a store differs from the model's.

    `open_store` gives a new, empty store at each call, not opened yet. Without `shrink` the
    first life that fails is shown as it is: quick, and long to read.
    """
    phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
    machine = type("Machine", (StoreMachine,), {"open_store": staticmethod(open_store)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=phases if shrink else phases[:-1],
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
