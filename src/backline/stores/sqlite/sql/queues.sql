-- queues: the settings of queues, and what their limits are compared with.
--   in     :names JSON, a list
--   out    one JSON list: [name, id, paused, max_depth, depth or 0, concurrency, how many run
--          or 0, interval, burst, arrival, 1 if it has paces, 1 if it is fair, ageing]
--   locks  none
--   index  the unique indexes on queue (name) and pace (queue, key), the primary key of tally
select cast(json_group_array(json_array(
    queue.name, queue.id, json(iif(queue.paused, 'true', 'false')), queue.max_depth, iif(
    queue.max_depth is null, 0, (
        select cast(total(iif(kind = 'asleep', -n, n)) as integer) from tally
        where tally.queue = queue.id and kind in ('waiting', 'scheduled', 'ready', 'asleep')
    )), queue.concurrency, iif(
    queue.concurrency is null, 0, (
        select cast(total(n) as integer) from tally
        where tally.queue = queue.id and kind = 'running'
    )), queue.interval, queue.burst, queue.arrival,
    exists (select 1 from pace where pace.queue = queue.id), queue.fair <> 0, queue.ageing
)) as blob)
from json_each(:names) as wanted cross join queue on queue.name = wanted.value
