-- limited_queues: whether any of some queues runs only so many jobs at a time.
--   in     :queues JSON, a list of ids
--   out    1 or 0
--   locks  none
--   index  the primary key of queue
select exists (
    select 1 from json_each(:queues) as wanted
    cross join queue on queue.id = wanted.value where queue.concurrency is not null
)
