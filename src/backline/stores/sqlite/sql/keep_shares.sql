-- keep_shares: write the finish tags of some tenants.
--   in     :shares JSON, a list: [queue, lane, rank, fair_key, finish]
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on share (queue, lane, rank, fair_key)
insert into share (queue, lane, rank, fair_key, finish)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
from json_each(:shares)
where true
on conflict (queue, lane, rank, fair_key) do update set finish = excluded.finish
