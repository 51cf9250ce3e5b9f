-- shares: the finish tags of some tenants.
--   in     :shares JSON, a list: [queue, lane, rank, fair_key]
--   out    one JSON list in the order given: the tag or null
--   locks  the writer's turn
--   index  the unique index on share (queue, lane, rank, fair_key)
select cast(json_group_array((
    select share.finish from share
    where share.queue = value ->> 0 and share.lane = value ->> 1 and share.rank = value ->> 2
        and share.fair_key = value ->> 3
)) as blob)
from json_each(:shares)
