-- traffic: count jobs that ended and jobs that arrived, for the rates; once a commit.
--   in     :moves JSON, a list: [queue, how many ended, how many arrived]; :second of the tick
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of traffic
-- A damaged count stays within its bounds: an overflow would stop the whole queue.
insert into traffic (queue, second, ended, arrived)
select value ->> 0, :second, value ->> 1, value ->> 2 from json_each(:moves) where true
on conflict (queue, second) do update
set
    ended = max(min(ended, 0x3fffffffffffffff), -0x3fffffffffffffff) + excluded.ended,
    arrived = max(min(arrived, 0x3fffffffffffffff), -0x3fffffffffffffff) + excluded.arrived
