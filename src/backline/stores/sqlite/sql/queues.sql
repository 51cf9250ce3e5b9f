-- queues: the settings of queues, and their depth where it is limited.
--   in     :names JSON, a list
--   out    one JSON list: [name, id, paused, max_depth, depth or 0]
--   locks  none
--   index  the unique index on queue (name), the primary key of tally
select cast(json_group_array(json_array(
    queue.name, queue.id, json(iif(queue.paused, 'true', 'false')), queue.max_depth, iif(
    queue.max_depth is null, 0, (
        select cast(total(n) as integer) from tally
        where tally.queue = queue.id and kind in ('waiting', 'scheduled', 'ready')
    )
))) as blob)
from json_each(:names) as wanted cross join queue on queue.name = wanted.value
