-- schedules_named: a page of the schedules of some names, in the order they were made.
--   in     :names JSON, a list; :after the id before the page; :limit
--   out    a row a schedule: its columns, text as blobs
--   locks  none: a reader
--   index  the unique index on schedule (name); the page is sorted by id
select
    id, cast(name as blob), version, paused, last, ran, next, cast(spec as blob),
    cast(declared as blob)
from schedule
where name in (select value from json_each(:names)) and id > :after
order by id limit :limit
