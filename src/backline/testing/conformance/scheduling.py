"""Schedules: each slot makes one job, whoever looks, and whatever happens in between."""

import asyncio
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from backline.errors import ConfigError, EnqueueError
from backline.job import FARTHEST, HOUR, MINUTE, SECOND, JobRequest, Micros, OnConflict
from backline.parents import After
from backline.schedule import (
    Cron,
    Every,
    Missed,
    ScheduleChange,
    ScheduleRecord,
    ScheduleSpec,
    Tick,
    change,
    job_of,
)
from backline.states import State
from backline.store import Hint, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import QUEUE, add, find_all, make_job, stats_of
from backline.testing.raw import RawAccess

NAME = "report"


def make_spec(interval: Micros = MINUTE, **fields: Any) -> ScheduleSpec:
    """A job of the queue `mail` every minute."""
    values: dict[str, Any] = {"id": "", "task": "app.send", "queue": QUEUE}
    return ScheduleSpec(rule=Every(interval), job=JobRequest(**values | fields))


async def make(
    store: Store, clock: VirtualClock, *names: str, **fields: Any
) -> list[ScheduleRecord]:
    """Schedules of those names, from now on."""
    new = [change.created(name, make_spec(**fields), clock.now()) for name in names or (NAME,)]
    changes = [ScheduleChange(schedule.name, 0, schedule) for schedule in new]
    assert await store.arrange(changes) == [True] * len(new)
    return [await read(store, schedule.name) for schedule in new]


async def read(store: Store, name: str = NAME) -> ScheduleRecord:
    """A schedule that exists."""
    [found] = (await store.schedules(limit=2, names=[name])).schedules
    return found


async def put(store: Store, found: ScheduleRecord, new: ScheduleRecord | None) -> bool:
    """Put `new` in the place of what was read."""
    [done] = await store.arrange([ScheduleChange(found.name, found.version, new)])
    return done


def use(found: ScheduleRecord, *slots: Micros, until: Micros | None = None) -> Tick:
    """The use of these slots of a schedule, as it was read."""
    assert found.spec is not None
    last = until if until is not None else slots[-1]
    return Tick(
        schedule=found.name,
        version=found.version,
        last=found.last,
        until=last,
        next=last + MINUTE,
        ran=slots[-1] if slots else None,
        jobs=tuple(job_of(found.name, found.spec, slot) for slot in slots),
    )


def following(found: ScheduleRecord) -> Micros:
    """The slot that comes next."""
    assert found.next is not None
    return found.next


class Scheduling(Harness):
    """`schedules`, `due_schedules`, `arrange`, `tick`."""

    async def test_a_schedule_is_read_back_as_it_was_written(
        self, store: Store, clock: VirtualClock
    ) -> None:
        spec = ScheduleSpec(
            rule=Cron("0 3 * * *", "Europe/Paris"),
            job=make_job(clock, id="", payload=Raw(b'[[1,"\xc3\xa9"],{}]'), headers={"a": "b"},
                         tags=("x", "y"), priority=7, unique_key="k", expires_in=HOUR),
            missed=Missed.ALL,
        )  # fmt: skip
        new = ScheduleRecord(
            name="Übersicht ☂", spec=spec, declared=make_spec(), paused=True, last=5, ran=3, next=9
        )
        assert await store.arrange([ScheduleChange(new.name, 0, new)]) == [True]
        found = await read(store, new.name)
        assert found == replace(new, version=found.version)
        assert found.version > 0

    async def test_schedules_come_in_pages(self, store: Store, clock: VirtualClock) -> None:
        names = [f"s{n}" for n in range(7)]
        await make(store, clock, *names)
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await store.schedules(limit=3, after=after)
            assert len(page.schedules) <= 3
            assert page.now == clock.now()
            seen += [found.name for found in page.schedules]
            after = page.after
            if after is None:
                break
        assert sorted(seen) == names
        some = await store.schedules(limit=9, names=["s3", "nobody", "s3", "s1", "\ud800"])
        assert sorted(found.name for found in some.schedules) == ["s1", "s3"]
        assert (await store.schedules(limit=0)).schedules == []
        assert (await store.schedules(limit=9, names=[])).schedules == []

    async def test_what_is_due_has_a_slot_that_has_come(
        self, store: Store, clock: VirtualClock
    ) -> None:
        soon, late, never, held = await make(store, clock, "soon", "late", "never", "held")
        for found, due in ((soon, 10 * SECOND), (late, 30 * SECOND)):
            await put(store, found, replace(found, next=clock.now() + due))
        await put(store, never, replace(never, next=None))
        await put(store, held, change.paused(held))
        looked = await store.due_schedules(limit=9)
        assert (looked.schedules, looked.next_in) == ([], 10 * SECOND)
        clock.advance("10s")
        looked = await store.due_schedules(limit=9)
        assert [found.name for found in looked.schedules] == ["soon"]
        assert (looked.next_in, looked.now) == (20 * SECOND, clock.now())
        clock.advance("1d")
        looked = await store.due_schedules(limit=1)
        then = await store.due_schedules(limit=1, after=looked.after)
        assert {looked.schedules[0].name, then.schedules[0].name} == {"soon", "late"}
        assert (looked.next_in, then.after) == (None, None)

    async def test_i12_a_slot_makes_one_job(self, store: Store, clock: VirtualClock) -> None:
        [found] = await make(store, clock, priority=3)
        slot = following(found)
        clock.advance("2m")
        tick = use(found, slot)
        assert await store.tick([tick]) == [True]
        [job] = await find_all(store)
        assert (job.id, job.due, job.state, job.priority) == (
            tick.jobs[0].id,
            slot,
            State.READY,
            3,
        )
        after = await read(store)
        assert (after.last, after.ran, after.next) == (slot, slot, slot + MINUTE)
        assert after.version == found.version, "a tick is no change of what people said"

    async def test_i5_a_tick_whose_reply_was_lost_makes_no_second_job(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock)
        clock.advance("2m")
        tick = use(found, following(found))
        assert await store.tick([tick]) == [True]
        assert await store.tick([tick]) == [False]
        assert len(await find_all(store)) == 1

    async def test_i12_of_schedulers_that_saw_the_same_one_uses_the_slot(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock)
        clock.advance("3m")
        first, second = following(found), following(found) + MINUTE
        looks = [use(found, first), use(found, first, second), use(found, first)]
        answers = await asyncio.gather(*(store.tick([tick]) for tick in looks))
        assert sum(done for [done] in answers) == 1
        again = await read(store)
        await store.tick([use(again, second)] if again.last == first else [])
        assert len(await find_all(store)) == 2

    @pytest.mark.parametrize("what", ["edited", "paused", "deleted", "replaced"])
    async def test_i12_who_read_a_schedule_before_it_was_changed_uses_no_slot(
        self, store: Store, clock: VirtualClock, what: str
    ) -> None:
        """A scheduler that stood still for a while goes on with what it knew."""
        [found] = await make(store, clock)
        stale = use(found, following(found))
        if what in {"deleted", "replaced"}:
            assert await put(store, found, None)
        if what == "replaced":  # at the same moment, so that all but its version is the same
            await make(store, clock)
        elif what == "edited":
            priority = make_spec(priority=9)
            assert await put(store, found, change.edited(found, priority, clock.now()))
        elif what == "paused":
            assert await put(store, found, change.paused(found))
        before = (await store.schedules(limit=9)).schedules
        clock.advance("2m")
        assert await store.tick([stale]) == [False]
        assert await find_all(store) == []
        assert (await store.schedules(limit=9)).schedules == before

    async def test_a_change_applies_to_the_version_it_was_made_for(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock)
        assert not await put(store, replace(found, version=0), found), "there is one already"
        assert await put(store, found, change.paused(found))
        assert not await put(store, found, None), "it was paused meanwhile"
        assert not await put(store, found, found)
        paused = await read(store)
        assert paused.paused
        assert paused.version != found.version
        assert await put(store, paused, None)
        assert not await put(store, paused, None)
        assert not await put(store, paused, paused)
        assert not await put(store, replace(paused, version=0), None)
        [again] = await make(store, clock)
        assert again.version not in {found.version, paused.version}

    async def test_i6_changes_and_ticks_answer_in_their_order(
        self, store: Store, clock: VirtualClock
    ) -> None:
        one, two, three = await make(store, clock, "one", "two", "three")
        changes = [
            ScheduleChange("two", two.version, change.paused(two)),
            ScheduleChange("four", 7, change.paused(two)),
            ScheduleChange("two", two.version, None),
        ]
        with pytest.raises(ConfigError):  # the second is of another name
            await store.arrange(changes)
        assert not (await read(store, "two")).paused, "nothing of the call was written"
        del changes[1]
        assert await store.arrange(changes) == [True, False]
        clock.advance("2m")
        ticks = [use(found, following(found)) for found in (one, two, three)]
        assert await store.tick(ticks) == [True, False, True]
        made = {job.id for job in await find_all(store)}
        assert made == {ticks[0].jobs[0].id, ticks[2].jobs[0].id}
        assert await store.arrange([]) == await store.tick([]) == []

    async def test_i8_a_full_queue_refuses_no_slot(self, store: Store, clock: VirtualClock) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        await add(store, make_job(clock))
        [found] = await make(store, clock)
        clock.advance("5m")
        slot = following(found)
        assert await store.tick([use(found, slot, slot + MINUTE)]) == [True]
        assert (await stats_of(store)).depth == 3

    async def test_slots_that_were_skipped_make_no_job(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock)
        clock.advance("1h")
        assert await store.tick([use(found, until=clock.now())]) == [True]
        after = await read(store)
        assert (after.last, after.ran) == (clock.now(), None)
        assert await find_all(store) == []

    async def test_i12_a_slot_that_is_used_again_adds_no_second_job(
        self, store: Store, clock: VirtualClock
    ) -> None:
        """As after a backup was restored, or under a wall clock that was put back."""
        [found] = await make(store, clock)
        clock.advance("2m")
        tick = use(found, following(found))
        assert await store.tick([tick]) == [True]
        later = await read(store)
        assert await put(store, later, replace(later, last=found.last, next=found.next))
        restored = await read(store)
        assert await store.tick([use(restored, following(found))]) == [True]
        assert len(await find_all(store)) == 1
        await store.cancel([tick.jobs[0].id])
        await store.purge([tick.jobs[0].id])
        restored = await read(store)
        assert await put(store, restored, replace(restored, last=found.last))
        assert await store.tick([use(await read(store), following(found))]) == [True]
        assert await find_all(store) == [], "it is remembered for a day"

    @pytest.mark.parametrize("how", OnConflict)
    async def test_slots_keep_to_the_unique_key_of_their_job(
        self, store: Store, clock: VirtualClock, how: OnConflict
    ) -> None:
        [found] = await make(store, clock, unique_key="one at a time", on_conflict=how)
        clock.advance("5m")
        slot = following(found)
        assert await store.tick([use(found, slot, slot + MINUTE, slot + 2 * MINUTE)]) == [True]
        waiting = [job.due for job in await find_all(store) if job.state is State.READY]
        assert waiting == [slot + 2 * MINUTE if how is OnConflict.REPLACE else slot]

    async def test_jobs_are_found_in_queues_that_were_not_there(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock, queue="new")
        clock.advance("2m")
        await store.tick([use(found, following(found))])
        assert (await stats_of(store, "new")).depth == 1

    async def test_what_cannot_be_read_back_is_not_stored(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock, "good")
        bad = [
            change.created("bad", make_spec(payload=Raw(b"[[")), clock.now()),
            change.created("half \ud800", make_spec(), clock.now()),
            replace(found, name="bad", last=2**80),
            change.created("bad", make_spec(delay=FARTHEST), clock.now()),
            change.created("bad", make_spec(after=(After("a"),)), clock.now()),
            change.created("bad", make_spec(flow="f"), clock.now()),
        ]
        for schedule in bad:
            with pytest.raises(ConfigError, match="cannot be stored"):
                await store.arrange([ScheduleChange(schedule.name, 0, schedule)])
        tick = use(found, following(found))
        wrong = replace(tick, jobs=(replace(tick.jobs[0], payload=Raw(b"[[")),))
        with pytest.raises(EnqueueError):
            await store.tick([wrong])
        assert (await store.schedules(limit=9)).schedules == [found]

    async def test_a_schedule_whose_jobs_cannot_be_stored_can_still_be_paused(
        self, store: Store, clock: VirtualClock
    ) -> None:
        """Older code may have stored it: what stops it is not refused for what it is."""
        bad = change.created(NAME, make_spec(delay=FARTHEST), clock.now())
        paused = change.paused(bad)
        assert await store.arrange([ScheduleChange(NAME, 0, paused)]) == [True]
        found = await read(store)
        with pytest.raises(ConfigError, match="run_at"):
            await put(store, found, change.resumed(found, clock.now()))
        assert await put(store, found, None)

    async def test_a_change_is_hinted_at(self, store: Store, clock: VirtualClock) -> None:
        told = asyncio.Event()
        async with store.watch({Hint.SCHEDULE}, told.set), asyncio.timeout(5):
            await make(store, clock)
            await told.wait()

    async def test_i12_schedulers_in_two_handles_use_a_slot_once(
        self, store: Store, other: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock)
        clock.advance("2m")
        ticks = [handle.tick([use(found, following(found))]) for handle in (store, other)]
        answers = await asyncio.gather(*ticks)
        assert sorted(done for [done] in answers) == [False, True]
        assert len(await find_all(other)) == 1
        assert (await read(other)).ran == following(found)

    @pytest.mark.parametrize(
        "damage", [b"", b"{", b"null", b"[]", b'{"rule":{"kind":"every","interval":1}}', b"\xff"]
    )
    async def test_a_schedule_that_cannot_be_read_hides_no_other(
        self, store: Store, clock: VirtualClock, raw: RawAccess, damage: bytes
    ) -> None:
        await make(store, clock, "one", "two", "three")
        raw.corrupt_schedule("two", damage)
        clock.advance("1d")
        for page in (await store.schedules(limit=9), await store.due_schedules(limit=9)):
            specs = {found.name: found.spec for found in page.schedules}
            assert specs == {"one": make_spec(), "two": None, "three": make_spec()}
        mended = change.edited(await read(store, "two"), make_spec(), clock.now())
        assert await put(store, await read(store, "two"), mended)
        assert following(await read(store, "two")) - clock.now() <= MINUTE
