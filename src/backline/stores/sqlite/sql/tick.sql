-- tick: move schedules on that are as they were read.
--   in     :ticks JSON, a row a schedule, no two alike: [name, version, last, until, next, ran]
--   out    a row for each that was moved: its name as a blob
--   locks  the writer's turn
--   index  the unique index on schedule (name), a look-up a tick
update schedule
set last = tick.value ->> 3, next = tick.value ->> 4, ran = coalesce(tick.value ->> 5, ran)
from json_each(:ticks) as tick
where schedule.name = tick.value ->> 0
    and version = tick.value ->> 1
    and last = tick.value ->> 2
returning cast(name as blob)
