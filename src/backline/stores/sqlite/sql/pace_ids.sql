-- pace_ids: the rows of paces.
--   in     :paces JSON, a list: [queue, key]
--   out    one JSON list in the order given: ids
--   locks  the writer's turn
--   index  the unique index on pace (queue, key)
select json_group_array(pace.id)
from json_each(:paces) as wanted
cross join pace on pace.queue = wanted.value ->> 0 and pace.key = wanted.value ->> 1
