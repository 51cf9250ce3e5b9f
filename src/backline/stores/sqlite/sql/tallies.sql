-- tallies: every queue with its settings and counts.
--   in     nothing
--   out    a row a queue: id, name, paused, max_depth, concurrency, interval, burst, 1
--          if it is fair, weights, ageing, JSON list of [kind, lane, n]
--   locks  none: a reader
--   index  the primary key of tally
select id, cast(name as blob), paused, max_depth, concurrency, interval, burst, fair,
    cast(weights as blob), ageing, (
    select cast(json_group_array(json_array(kind, lane, n)) as blob)
    from tally where tally.queue = queue.id
)
from queue order by name
