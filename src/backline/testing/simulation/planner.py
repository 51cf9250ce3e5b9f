"""Draws the plan of a seed."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from msgspec import UNSET, Raw
from msgspec.structs import replace

from backline.fanout import Publication
from backline.job import (
    DAY,
    SECOND,
    Backoff,
    FollowUp,
    JobId,
    JobRequest,
    Lane,
    Limits,
    Micros,
    OnConflict,
    Pacing,
    Terms,
)
from backline.parents import After, On
from backline.queue import OnFull
from backline.states import TERMINAL
from backline.store import Edit
from backline.testing.clock import START
from backline.testing.flaky import NO_FAULTS, StoreFaults
from backline.testing.simulation.plan import (
    AFTER,
    BATCHES,
    BOUNDED,
    HOSTS,
    MAIN,
    MANY,
    PRODUCERS,
    QUEUES,
    SHARED,
    SMALL,
    SUPERVISOR_POINTS,
    SYNC,
    TOLD,
    UNKNOWN,
    WORKER_POINTS,
    Act,
    Behaviour,
    Blow,
    How,
    Order,
    Plan,
    PlannedCall,
    PlannedOrder,
    Size,
    key_of,
)


def make_plan(seed: int, new_id: Callable[[], JobId], size: Size = SMALL) -> Plan:
    """The plan of a seed: a random subset of the faults, at random rates."""
    rng, keys = random.Random(f"plan {seed}"), random.Random(f"keys {seed}")
    limits, batches = random.Random(f"limits {seed}"), random.Random(f"batches {seed}")
    sharing = random.Random(f"sharing {seed}")
    return _Planner(rng, keys, limits, new_id, size, batches, sharing).plan(seed)


@dataclass
class _Planner:
    rng: random.Random
    keys: random.Random
    limiting: random.Random
    new_id: Callable[[], JobId]
    size: Size
    batches: random.Random
    """Draws which jobs run in batches."""
    sharing: random.Random
    """Draws whose jobs are whose."""
    behaviours: dict[JobId, Behaviour] = field(default_factory=dict)
    keep: Micros = 7 * DAY
    limits: list[Limits] = field(default_factory=list)
    fair: tuple[str, ...] = ()
    """The queues that some jobs share."""
    harm: bool = False
    """Some jobs harm the process that runs them."""
    windows: tuple[Micros, ...] = (0,)
    """What `unique_for` is drawn from."""

    def plan(self, seed: int) -> Plan:
        rng = self.rng
        rng_of_flows = random.Random(f"flows {seed}")
        rng_of_events = random.Random(f"events {seed}")
        blows = self._blows()
        self.harm = bool(blows) and rng.random() < 0.5
        self.fair = tuple(queue for queue in QUEUES if self.sharing.random() < 0.4)
        self.keep = rng.choice((7 * DAY, 7 * DAY, rng.randrange(20 * SECOND), 0))
        if all(blow.by >= 0 for blow in blows if blow.act is Act.STEP):
            # What a step back does to a key that was free already is the store's affair.
            self.windows = (0, 0, rng.randrange(30 * SECOND))
        calls = self._calls()
        if rng_of_flows.random() < 0.5:
            calls = tuple(_tied(call, rng_of_flows) for call in calls)
        skews = [
            (rng.choice((0.0, 0.0, rng.uniform(-3600, 3600))), rng.uniform(0, 10_000))
            for _ in range(HOSTS)
        ]
        return Plan(
            seed=seed,
            lease=rng.choice((2, 3, 5)) * SECOND,
            active=self.size.active,
            calls=calls,
            behaviours=self.behaviours,
            orders=(*self._orders(list(self.behaviours)), *self._tells(rng_of_events)),
            blows=blows,
            faults=self._faults(),
            max_depth=rng.choice((None, 4, 8)),
            on_full=rng.choice(tuple(OnFull)),
            patience=rng.choice((0, SECOND, 5 * SECOND)),
            max_jobs=rng.choice((None, None, None, 5)) if blows else None,
            crashes=rng.choice((0.0, 0.0, 0.0, 0.3)) if blows else 0.0,
            skews=tuple(skews),
        )

    def _orders(self, ids: list[JobId]) -> tuple[PlannedOrder, ...]:
        rng, active = self.rng, self.size.active
        rates = ((Order.CANCEL, 0.1), (Order.REDRIVE, 0.05), (Order.PURGE, 0.05))
        orders = [
            PlannedOrder(at=rng.randrange(active), order=order, jobs=(job,))
            for order, rate in rates
            for job in ids
            if rng.random() < rate
        ]
        for order, _ in rates:
            if rng.random() < 0.2:  # one for many
                some = tuple(rng.sample(ids, len(ids) // 4))
                orders.append(PlannedOrder(at=rng.randrange(active), order=order, jobs=some))
        if rng.random() < 0.5:
            orders += [self._edit(ids) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.3:
            queue, at = rng.choice(QUEUES), rng.randrange(active)
            orders.append(PlannedOrder(at=at, order=Order.PAUSE, queue=queue))
            at += rng.randrange(15 * SECOND)
            orders.append(PlannedOrder(at=at, order=Order.RESUME, queue=queue))
        return tuple(sorted(orders, key=lambda order: order.at))

    def _tells(self, rng: random.Random) -> Iterator[PlannedOrder]:
        """Events that jobs wait for, some of them twice, or with another one of their key."""
        for job, behaviour in self.behaviours.items():
            for number in range(rng.choice((0, 1, 1, 1, 2)) if behaviour.waits else 0):
                event = Publication(id=f"{number} for {job}", name=TOLD, key=key_of(job))
                for _ in range(rng.choice((1, 1, 2))):
                    at = rng.randrange(self.size.active)
                    yield PlannedOrder(at=at, order=Order.TELL, event=event)

    def _edit(self, ids: list[JobId]) -> PlannedOrder:
        rng, active = self.rng, self.size.active
        named = len(ids) // 4 if rng.random() < 0.3 else 1
        later = START + rng.randrange(active)
        change = Edit(
            queue=rng.choice((UNSET, *QUEUES)),
            priority=rng.choice((UNSET, -5, 0, 5)),
            run_at=rng.choice((UNSET, UNSET, UNSET, later)),
            delay=rng.choice((UNSET, UNSET, 0, rng.randrange(15 * SECOND))),
        )
        return PlannedOrder(
            at=rng.randrange(active),
            order=Order.EDIT,
            jobs=tuple(rng.sample(ids, named)),
            change=change,
        )

    def _calls(self) -> tuple[PlannedCall, ...]:
        rng = self.rng
        keys = [f"key-{number}" for number in range(rng.randint(2, 6))]
        end = self.size.active * 3 // 4
        bursts = [rng.randrange(end) for _ in range(3)]
        calls: list[PlannedCall] = []
        left = self.size.jobs
        while left > 0:
            count = min(left, rng.choice((1, 1, 1, 2, 5)))
            left -= count
            queue = rng.choice(QUEUES)
            own_keys = keys if rng.random() < 0.5 else []
            drawn = [self._marked(self._job(queue, own_keys), count) for _ in range(count)]
            jobs = [self._shared(self._limited(job)) for job in drawn]
            if rng.random() < 0.05:
                jobs.append(jobs[0])  # the same job twice in one call
            calls.append(
                PlannedCall(
                    at=rng.choice((rng.randrange(end), rng.choice(bursts))),
                    jobs=tuple(jobs),
                    producer=rng.randrange(PRODUCERS),
                    again=rng.random() < 0.15,
                    patience=rng.choice((None, None, None, rng.randrange(2 * SECOND))),
                )
            )
        return tuple(sorted(calls, key=lambda call: call.at))

    def _job(self, queue: str, keys: list[str]) -> JobRequest:
        rng = self.rng
        job_id = self.new_id()
        task = rng.choices((MAIN, SYNC, UNKNOWN), (20, 3, 1))[0]
        behaviour = self._behaviour(task)
        if task != SYNC:
            own = random.Random(f"steps {job_id}")
            steps, sleeps = own.choice((0, 0, 1, 2, 3)), own.random() < 0.3
            waits = own.randrange(1, 8 * SECOND) if steps and own.random() < 0.4 else 0
            behaviour = dataclasses.replace(
                behaviour, steps=steps, sleeps=sleeps and steps > 0, waits=waits
            )
        if task == MAIN and self.batches.random() < (0.9 if queue == BATCHES else 0.1):
            task = MANY
            behaviour = dataclasses.replace(behaviour, steps=0, sleeps=False, waits=0)
        self.behaviours[job_id] = behaviour
        key = rng.choice(keys) if keys and rng.random() < 0.3 else None
        timeout = 120 * SECOND
        if behaviour.takes and rng.random() < 0.08:
            timeout = behaviour.takes // 3 + 1  # it will never make it
        later = START + rng.randrange(self.size.active)
        return JobRequest(
            id=job_id,
            task=task,
            payload=Raw(f'[["{job_id}"],{{}}]'.encode()),
            queue=queue,
            lane=rng.choices((Lane.MAIN, Lane.CELL), (20, 1))[0],
            priority=rng.choice((-5, 0, 0, 0, 5)),
            delay=rng.choice((0, 0, 0, rng.randrange(15 * SECOND))),
            run_at=later if rng.random() < 0.1 else None,
            expires_in=rng.choice((None, None, None, rng.randrange(1, 60 * SECOND))),
            terms=Terms(
                max_attempts=rng.choice((1, 2, 3, 5)),
                timeout=timeout,
                backoff=self._backoff(),
                keep=self.keep,
                keep_dead=2 * self.keep,
            ),
            unique_key=key,
            unique_for=0 if key is None else rng.choice(self.windows),
            on_conflict=rng.choice(tuple(OnConflict)),
            follow_ups=self._follow_ups() if rng.random() < 0.3 else (),
        )

    def _follow_ups(self) -> tuple[FollowUp, ...]:
        rng = self.rng
        return tuple(
            FollowUp(
                on=tuple(rng.sample(sorted(TERMINAL), rng.randint(1, len(TERMINAL)))),
                job=JobRequest(
                    id="",
                    task=AFTER,
                    queue=rng.choice([queue for queue in QUEUES if queue != BOUNDED]),
                    delay=rng.choice((0, 0, rng.randrange(2 * SECOND))),
                    terms=Terms(keep=self.keep, keep_dead=2 * self.keep),
                ),
            )
            for _ in range(rng.randint(1, 2))
        )

    def _limited(self, job: JobRequest) -> JobRequest:
        """The job, maybe with limits: those of a key are the same for all of its jobs."""
        rng = self.limiting
        if not self.limits:
            keys = [("one", 1), ("many", rng.choice((1, 2, 3)))]
            pacing = Pacing(rng.randrange(1, SECOND // 3), rng.choice((1, 2, 3)))
            self.limits = [
                *(Limits(key, slots) for key, slots in keys),
                Limits(rate_key="rate", pacing=pacing),
                Limits(*keys[1], rate_key="rate", pacing=pacing, weight=pacing.burst),
            ]
        return replace(job, limits=rng.choice(self.limits)) if rng.random() < 0.25 else job

    def _shared(self, job: JobRequest) -> JobRequest:
        """The job, maybe somebody's."""
        tenant = self.sharing.choice((None, "alice", "alice", "bob", "carol"))
        return replace(job, fair_key=tenant) if job.queue in self.fair else job

    def _marked(self, job: JobRequest, count: int) -> JobRequest:
        """The job of a call of `count`, maybe not to be put off for ever, or to be done once."""
        keys = self.keys
        replaces = job.unique_key is not None and job.on_conflict is OnConflict.REPLACE
        if replaces and keys.random() < 0.7:
            job = replace(job, max_wait=keys.randrange(1, 8 * SECOND))
        # Not with a unique key that another job of the call may have: see `admission.distinct`.
        if keys.random() < 0.15 and (count == 1 or job.unique_key is None):
            payload = Raw(f'[["{keys.choice(SHARED)}"],{{}}]'.encode())
            key = f"once-{keys.randrange(3)}"
            job = replace(job, task=MAIN, payload=payload, idempotency_key=key)
        return job

    def _behaviour(self, task: str) -> Behaviour:
        rng = self.rng
        takes = kills = blocks = 0
        if task == MAIN and self.harm:
            kills = rng.choices((0, 1, 2, 99), (60, 1, 1, 1))[0]
            blocks = rng.choices((0, rng.randrange(12 * SECOND)), (40, 1))[0]
        if task != SYNC:
            shortest, longest = rng.choice(((0, 100), (10, 500), (500, 3_000), (3_000, 10_000)))
            takes = rng.randint(shortest, longest) * 1_000
        return Behaviour(
            takes=takes,
            fails=rng.choices((0, 1, 2, 99), (14, 3, 2, 1))[0],
            fails_as=rng.choices((How.ERROR, How.LATER, How.FATAL), (6, 2, 1))[0],
            snoozes=rng.choices((0, 1, 2), (10, 1, 1))[0],
            wait=rng.randrange(3 * SECOND),
            cancels=rng.random() < 0.04,
            reports=rng.random() < 0.2,
            kills=kills,
            blocks=blocks,
        )

    def _backoff(self) -> Backoff:
        rng = self.rng
        if rng.random() < 0.3:
            return Backoff(delays=(rng.randrange(SECOND), rng.randrange(3 * SECOND)))
        base, cap = rng.randrange(1, SECOND), rng.randrange(SECOND, 4 * SECOND)
        return Backoff(base=base, cap=cap, jitter=rng.random() < 0.3)

    def _blows(self) -> tuple[Blow, ...]:
        rng = self.rng
        if rng.random() < 0.1:
            return ()
        allowed = [act for act in Act if rng.random() < 0.4] or [Act.KILL_WORKER]
        blows = [self._blow(rng.choice(allowed)) for _ in range(rng.randint(1, self.size.blows))]
        return tuple(sorted(blows, key=lambda blow: blow.at))

    def _blow(self, act: Act) -> Blow:
        rng = self.rng
        step = rng.choice((rng.uniform(-10, 10), rng.uniform(-10, 10), rng.uniform(0, 3600)))
        point = rng.choice(WORKER_POINTS if act is Act.KILL_AT else SUPERVISOR_POINTS)
        return Blow(
            at=rng.randrange(self.size.active),
            act=act,
            host=rng.randrange(HOSTS),
            lasts=rng.choice((rng.randrange(SECOND), rng.randrange(12 * SECOND))),
            by=round(step, 3),
            point=point,
        )

    def _faults(self) -> StoreFaults:
        rng = self.rng
        if rng.random() < 0.3:
            return NO_FAULTS

        def rate(most: float) -> float:
            return rng.uniform(0, most) if rng.random() < 0.4 else 0.0

        return StoreFaults(
            refused=rate(0.05),
            lost=rate(0.05),
            late=rate(0.03),
            repeated=rate(0.1),
            full=rate(0.1),
            delayed=rate(0.3),
            longest_delay=rng.choice((SECOND // 100, SECOND // 10)),
        )


def _tied(call: PlannedCall, rng: random.Random) -> PlannedCall:
    """The jobs of a call in a flow: some wait for earlier ones, the last perhaps for a group."""
    if len({job.id for job in call.jobs}) < len(call.jobs) or len(call.jobs) < 2:
        return call
    flow, jobs = f"f-{call.jobs[0].id}", list(call.jobs)
    group = f"g-{jobs[0].id}" if rng.random() < 0.5 else None
    for index, job in enumerate(jobs):
        parents = [] if job.unique_key is not None else jobs[:index]
        chosen = [parent for parent in parents if rng.random() < 0.4]
        edges = {parent.id: rng.choice((On.SUCCESS, *On)) for parent in chosen}
        last = index == len(jobs) - 1
        if group is not None and last and parents:
            edges = {group: rng.choice(tuple(On))}
        after = tuple(After(*edge, result=edge[0] != group) for edge in edges.items())
        jobs[index] = replace(job, after=after, flow=flow, group=None if last else group)
    return dataclasses.replace(call, jobs=tuple(jobs))
