"""The schedules of a memory store."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from backline.job import Micros
from backline.schedule import ScheduleChange, ScheduleRecord, Tick
from backline.store import Timetable


class Schedules:
    """Schedules by name. A look at them costs O(n log n) in their number."""

    def __init__(self) -> None:
        self._rows: dict[str, ScheduleRecord] = {}
        self._versions = 0
        """The last version given to any of them."""

    def page(
        self, now: Micros, limit: int, after: str | None, names: Collection[str] | None
    ) -> Timetable:
        """A page of all, or of those of these names."""
        wanted = self._rows if names is None else self._rows.keys() & set(names)
        return self._page(now, limit, after, wanted)

    def due(self, now: Micros, limit: int, after: str | None) -> Timetable:
        """A page of those whose slot has come, and when the next of the others is."""
        slots = {name: row.next for name, row in self._rows.items() if row.next is not None}
        page = self._page(now, limit, after, [name for name, slot in slots.items() if slot <= now])
        coming = min((slot for slot in slots.values() if slot > now), default=None)
        return replace(page, next_in=None if coming is None else coming - now)

    def change(self, change: ScheduleChange) -> bool:
        """Apply a change to the version it was made for."""
        row = self._rows.get(change.name)
        if change.version != (0 if row is None else row.version):
            return False
        if change.schedule is None:
            return self._rows.pop(change.name, None) is not None
        self._versions += 1
        self._rows[change.name] = replace(change.schedule, version=self._versions)
        return True

    def tick(self, tick: Tick) -> bool:
        """Move a schedule on if it is as it was read."""
        row = self._rows.get(tick.schedule)
        if row is None or (row.version, row.last) != (tick.version, tick.last):
            return False
        ran = row.ran if tick.ran is None else tick.ran
        self._rows[tick.schedule] = replace(row, last=tick.until, next=tick.next, ran=ran)
        return True

    def _page(self, now: Micros, limit: int, after: str | None, names: Iterable[str]) -> Timetable:
        following = sorted(name for name in names if after is None or name > after)
        page = following[: max(limit, 0)]
        more = len(following) > len(page) > 0
        return Timetable(now, [self._rows[name] for name in page], page[-1] if more else None)
