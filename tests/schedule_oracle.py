"""What a cron expression means, told by looking at every real minute.

Written apart from the engine: no cronsim, no search, no arithmetic on local times. It reads
the clocks of a zone minute by minute with the standard library, and asks of each reading
whether the fields match it. Slow, and simple enough to be believed.
"""

from calendar import monthrange, timegm
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from backline.schedule import Cron, next_slot

MINUTE: Final = 60
HOUR: Final = 3_600
AROUND: Final = 4 * HOUR
"""Looked at on either side of a change. None since 2000 repeats more than three hours."""

_WEEKDAYS: Final = "sun mon tue wed thu fri sat"
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec"
NAMES: Final = {name: number for number, name in enumerate(_WEEKDAYS.split())} | {
    name: number for number, name in enumerate(_MONTHS.split(), 1)
}

_ZONES: Final = """
    Africa/Cairo Africa/Casablanca Africa/Johannesburg Africa/Juba Africa/Tripoli
    Africa/Windhoek America/Asuncion America/Bogota America/Caracas America/Chicago
    America/Godthab America/Grand_Turk America/Halifax America/Havana America/Los_Angeles
    America/Mexico_City America/Montevideo America/New_York America/Port-au-Prince
    America/Santiago America/Sao_Paulo America/Scoresbysund America/St_Johns Antarctica/Casey
    Antarctica/Troll Asia/Amman Asia/Baku Asia/Beirut Asia/Damascus Asia/Dhaka Asia/Gaza
    Asia/Jerusalem Asia/Kathmandu Asia/Kolkata Asia/Pyongyang Asia/Tehran Asia/Tokyo
    Atlantic/Azores Australia/Adelaide Australia/Lord_Howe Europe/Chisinau Europe/Dublin
    Europe/Istanbul Europe/Lisbon Europe/London Europe/Moscow Europe/Paris Pacific/Apia
    Pacific/Auckland Pacific/Chatham
"""
ZONES: Final = _ZONES.split()

_EXPRESSIONS: Final = """
    * * * * *
    */5 * * * *
    */7 * * * *
    */30 * * * *
    0 * * * *
    15 * * * *
    45 * * * *
    59 * * * *
    5,35 * * * *
    10-20 * * * *
    0 */2 * * *
    30 */3 * * *
    */15 1 * * *
    */10 2 * * *
    * 0 * * *
    * 23 * * *
    */20 0-3 * * *
    * * * * sun
    * * * * 6
    * * l * *
    */30 * 1-7 * sun
    0 0 * * *
    1 0 * * *
    30 0 * * *
    0 1 * * *
    30 1 * * *
    45 1 * * *
    0 2 * * *
    15 2 * * *
    30 2 * * *
    59 2 * * *
    0 3 * * *
    1 3 * * *
    0 23 * * *
    30 23 * * *
    0,30 0-4 * * *
    10-50/20 2 * * *
    0-59/10 1-3 * * *
    0-59 0-23 * * *
    0 2 * * sun
    30 2 * mar,oct 0
    30 2 * * 7l
    0 0 30 12 *
    30 1 * 3-4,10-11 sun#1
    0 3 lw * *
    0 2 1-7 * sun
"""
EXPRESSIONS: Final = [" ".join(line.split()) for line in _EXPRESSIONS.strip().splitlines()]


class Reading(NamedTuple):
    """A minute as clocks show it; the weekday counts from Sunday, 0."""

    minute: int
    hour: int
    day: int
    month: int
    weekday: int
    month_has: int


class Moment(NamedTuple):
    """A real minute: when it begins, what clocks show, and what they show for the first time.

    `new` is empty in an hour that is repeated, and has all that was skipped when clocks are
    put forward.
    """

    second: int
    shown: Reading
    new: tuple[Reading, ...]


@dataclass(frozen=True)
class Pattern:
    """The fields of an expression as predicates on readings."""

    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    day: Callable[[Reading], bool]
    weekday: Callable[[Reading], bool]
    both_days: bool
    wildcard: bool

    def matches(self, at: Reading) -> bool:
        """Whether a reading matches all the fields."""
        if at.minute not in self.minutes or at.hour not in self.hours:
            return False
        if at.month not in self.months:
            return False
        if self.both_days:
            return self.day(at) and self.weekday(at)
        return self.day(at) or self.weekday(at)

    def due(self, moment: Moment) -> bool:
        """Whether the issue's words make a real minute a slot.

        Wildcard minutes and hours follow real time; else a time that is skipped runs once at
        the next valid minute, and one that is repeated runs once.
        """
        if self.wildcard:
            return self.matches(moment.shown)
        return any(map(self.matches, moment.new))


def pattern(expression: str) -> Pattern:
    """Read an expression that is known to be right."""
    minute, hour, day, month, weekday = expression.lower().split()
    return Pattern(
        minutes=_numbers(minute, 0, 59),
        hours=_numbers(hour, 0, 23),
        months=_numbers(month, 1, 12),
        day=_any_of(day, _day_term),
        weekday=_any_of(weekday, _weekday_term),
        both_days=day[0] == "*" or weekday[0] == "*",
        wildcard=minute[0] == "*" or hour[0] == "*",
    )


def moments(zone: ZoneInfo, first: int, last: int) -> Iterator[Moment]:
    """Every real minute from `first` to `last`, which begin one, in seconds from 1970.

    What was shown before `first` is taken to be what was shown last: begin well before a
    change of the clocks.
    """
    furthest = _wall(zone, first - MINUTE)
    for second in range(first, last + 1, MINUTE):
        wall = _wall(zone, second)
        new = []
        while furthest < wall:
            furthest += timedelta(minutes=1)
            new.append(_reading(furthest))
        yield Moment(second, new[-1] if new else _reading(wall), tuple(new))


def changes(zone: ZoneInfo, first_year: int, last_year: int) -> list[int]:
    """The first minutes at which clocks have jumped, found by looking every hour."""
    start = timegm((first_year, 1, 1, 0, 0, 0))
    end = timegm((last_year + 1, 1, 1, 0, 0, 0))
    found = []
    before = _ahead(zone, start)
    for hour in range(start + HOUR, end, HOUR):
        after = _ahead(zone, hour)
        if after != before:
            minutes = range(hour - HOUR + MINUTE, hour + MINUTE, MINUTE)
            found.append(next(second for second in minutes if _ahead(zone, second) != before))
        before = after
    return found


def disagreements(name: str, expression: str, around: list[Moment], stride: int) -> list[str]:
    """Where the engine and the oracle differ on a stretch of real minutes, in words.

    The engine is stepped from slot to slot, and asked anew at every `stride`-th minute and a
    microsecond on either side of it, as a scheduler that has just been started asks it.
    """
    rule, meant = Cron(expression, name), pattern(expression)
    expected = [moment.second for moment in around if meant.due(moment)]
    first, last = around[0].second, around[-1].second
    wrong = []
    stepped = []
    slot = next_slot(rule, first * 1_000_000 - 1)
    while slot is not None and slot <= last * 1_000_000:
        stepped.append(slot)
        slot = next_slot(rule, slot)
    if stepped != [second * 1_000_000 for second in expected]:
        wrong.append(f"{name} {expression}: stepped {_dates(stepped)}, {_dates(expected, 1)}")
    following = len(expected)
    for moment in reversed(around):
        if following and expected[following - 1] > moment.second:
            following -= 1
        if moment.second // MINUTE % stride:
            continue
        at = moment.second * 1_000_000
        due = bool(following) and expected[following - 1] == moment.second
        later = expected[following] * 1_000_000 if following < len(expected) else None
        for after, right in ((at - 1, at if due else later), (at, later), (at + 1, later)):
            found = next_slot(rule, after)
            if (found if right or (found or 0) <= last * 1_000_000 else None) != right:
                wrong.append(f"{name} {expression}: after {_dates([after])} {found} not {right}")
    return wrong


def _dates(instants: list[int], unit: int = 1_000_000) -> str:
    return " ".join(
        f"{datetime.fromtimestamp(each / unit, UTC):%Y-%m-%dT%H:%M:%S.%f}" for each in instants
    )


def _ahead(zone: ZoneInfo, second: int) -> timedelta:
    return datetime.fromtimestamp(second, zone).utcoffset() or timedelta()


def _wall(zone: ZoneInfo, second: int) -> datetime:
    return datetime.fromtimestamp(second, zone).replace(tzinfo=None)


def _reading(at: datetime) -> Reading:
    weekday = at.isoweekday() % 7
    month_has = monthrange(at.year, at.month)[1]
    return Reading(at.minute, at.hour, at.day, at.month, weekday, month_has)


def _numbers(field: str, least: int, most: int) -> frozenset[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        low, _, high = span.partition("-")
        if span == "*":
            numbers = range(least, most + 1)
        elif high:
            numbers = range(_number(low), _number(high) + 1)
        else:
            numbers = range(_number(low), (most if step else _number(low)) + 1)
        found.update(numbers[:: int(step or 1)])
    return frozenset(found)


def _number(text: str) -> int:
    return NAMES[text] if text in NAMES else int(text)


def _any_of(
    field: str, read: Callable[[str], Callable[[Reading], bool]]
) -> Callable[[Reading], bool]:
    terms = [read(term) for term in field.split(",")]
    return lambda at: any(term(at) for term in terms)


def _day_term(term: str) -> Callable[[Reading], bool]:
    if term == "l":
        return lambda at: at.day == at.month_has
    if term == "lw":
        return _is_last_working_day
    numbers = _numbers(term, 1, 31)
    return lambda at: at.day in numbers


def _is_last_working_day(at: Reading) -> bool:
    if at.weekday in (0, 6):
        return False
    left = at.month_has - at.day
    return left == 0 or (at.weekday == 5 and left <= 2)


def _weekday_term(term: str) -> Callable[[Reading], bool]:
    if term.endswith("l"):
        last = int(term[:-1]) % 7
        return lambda at: at.weekday == last and at.day + 7 > at.month_has
    if "#" in term:
        name, nth = term.split("#")
        weekday = _number(name) % 7
        return lambda at: at.weekday == weekday and (at.day - 1) // 7 + 1 == int(nth)
    numbers = {number % 7 for number in _numbers(term, 0, 7)}
    return lambda at: at.weekday in numbers
