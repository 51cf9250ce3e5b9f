-- ended: count jobs that ended, for the drain rate.
--   in     :ended JSON, a list: [queue, how many]; :second of the tick
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of ended
-- A damaged count stays within its bounds: an overflow would stop the whole queue.
insert into ended (queue, second, n)
select value ->> 0, :second, value ->> 1 from json_each(:ended) where true
on conflict (queue, second) do update
set n = max(min(n, 0x3fffffffffffffff), -0x3fffffffffffffff) + excluded.n
