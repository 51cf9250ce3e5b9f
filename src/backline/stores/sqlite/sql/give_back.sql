-- give_back: move the finish tags of some tenants back.
--   in     :amounts JSON, a list: [queue, lane, rank, fair_key, by how much]
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on share (queue, lane, rank, fair_key)
update share set finish = share.finish - (given.value ->> 4)
from json_each(:amounts) as given
where share.queue = given.value ->> 0 and share.lane = given.value ->> 1
    and share.rank = given.value ->> 2 and share.fair_key = given.value ->> 3
    and share.finish > given.value ->> 4
