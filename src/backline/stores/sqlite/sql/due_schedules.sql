-- due_schedules: a page of the schedules whose slot has come, in the order they were made.
--   in     :now; :after the id before the page; :limit
--   out    a row a schedule: its columns, text as blobs
--   locks  none: a reader
--   index  schedule_next, up to now; what is due is sorted by id
select
    id, cast(name as blob), version, paused, last, ran, next, cast(spec as blob),
    cast(declared as blob)
from schedule indexed by schedule_next
where next <= :now and id > :after
order by id limit :limit
