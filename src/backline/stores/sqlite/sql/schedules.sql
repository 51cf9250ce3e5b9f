-- schedules: a page of schedules, in the order they were made.
--   in     :after the id before the page; :limit
--   out    a row a schedule: its columns, text as blobs
--   locks  none: a reader
--   index  the primary key of schedule, in its order
select
    id, cast(name as blob), version, paused, last, ran, next, cast(spec as blob),
    cast(declared as blob)
from schedule
where id > :after
order by id limit :limit
