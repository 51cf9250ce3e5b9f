"""Schedules in their table: read, changed and ticked."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from backline.job import Micros
from backline.schedule import ScheduleChange, ScheduleRecord, ScheduleSpec, Tick
from backline.store import Hint, Timetable
from backline.stores.sqlite import enqueue, flows, rows
from backline.stores.sqlite.driver import Connection, Row
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction, dumps

_SCHEDULES: Final = statement("schedules")
_NAMED: Final = statement("schedules_named")
_DUE: Final = statement("due_schedules")
_NEXT_SLOT: Final = statement("next_slot")
_VERSIONS: Final = statement("new_versions")
_ADD: Final = statement("add_schedule")
_CHANGE: Final = statement("change_schedule")
_DELETE: Final = statement("delete_schedule")
_TICK: Final = statement("tick")

_spec: Final = msgspec.json.Decoder(ScheduleSpec)


def page(
    db: Connection, limit: int, after: str | None, names: Collection[str] | None, now: Micros
) -> Timetable:
    """See `backline.store.Store`, as for everything here."""
    if names is None:
        return _page(db, _SCHEDULES, {}, limit, after, now)
    return _page(db, _NAMED, {"names": dumps(rows.ids(list(names)))}, limit, after, now)


def due(db: Connection, limit: int, after: str | None, now: Micros) -> Timetable:
    """A page of those whose slot has come, and when the next of the others is."""
    page = _page(db, _DUE, {"now": now}, limit, after, now)
    coming = db.value(_NEXT_SLOT, {"now": now})
    return msgspec.structs.replace(page, next_in=None if coming is None else coming - now)


def arrange(tx: Transaction, changes: Sequence[ScheduleChange]) -> list[bool]:
    """Apply each change to the version it was made for."""
    version = tx.db.value(_VERSIONS, {"count": len(changes)}) - len(changes)
    answers: list[bool] = []
    for number, change in enumerate(changes, 1):
        answers.append(_apply(tx.db, change, version + number))
    if any(answers):
        tx.hints.add(Hint.SCHEDULE)
    return answers


def tick(tx: Transaction, ticks: Sequence[Tick]) -> list[bool]:
    """Move schedules on that are as they were read, and add the jobs of their slots."""
    wanted = dumps([(t.schedule, t.version, t.last, t.until, t.next, t.ran) for t in ticks])
    moved = {rows.text(name) for (name,) in tx.db.rows(_TICK, {"ticks": wanted})}
    answers = [tick.schedule in moved for tick in ticks]
    jobs = [job for tick, done in zip(ticks, answers, strict=True) if done for job in tick.jobs]
    flows.check_parents(tx, [jobs])
    enqueue.add_unrefused(tx, jobs)
    return answers


def _page(
    db: Connection,
    sql: str,
    params: dict[str, object],
    limit: int,
    after: str | None,
    now: Micros,
) -> Timetable:
    limit = max(limit, 0)
    found = db.rows(sql, params | {"after": int(after or 0), "limit": limit + 1})
    page = found[:limit]
    more = len(found) > limit > 0
    schedules = [schedule for row in page if (schedule := _schedule(row)) is not None]
    return Timetable(now, schedules, str(page[-1][0]) if more else None)


def _schedule(row: Row) -> ScheduleRecord | None:
    """A row as far as it can be read; None if not even its name can."""
    _, name, version, paused, last, ran, next_slot, spec, declared = row
    try:
        named = bytes(name).decode()
    except UnicodeDecodeError:
        return None
    return ScheduleRecord(
        name=named,
        spec=_spec_of(spec),
        declared=_spec_of(declared),
        version=version,
        paused=bool(paused),
        last=last,
        ran=ran,
        next=next_slot,
    )


def _spec_of(cell: bytes | None) -> ScheduleSpec | None:
    try:
        return None if cell is None else _spec.decode(cell)
    except rows.UNREADABLE:
        return None


def _apply(db: Connection, change: ScheduleChange, new_version: int) -> bool:
    asked: dict[str, Any] = {"name": change.name, "version": change.version}
    schedule = change.schedule
    if schedule is None:
        return db.run(_DELETE, asked) > 0
    cells = {
        "new_version": new_version,
        "paused": schedule.paused,
        "last": schedule.last,
        "ran": schedule.ran,
        "next": schedule.next,
        "spec": dumps(schedule.spec),
        "declared": None if schedule.declared is None else dumps(schedule.declared),
    }
    return db.run(_CHANGE if change.version else _ADD, asked | cells) > 0
