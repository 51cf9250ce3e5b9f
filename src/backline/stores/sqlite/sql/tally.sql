-- tally: move the counts of jobs by what a call did; the one place that writes them.
--   in     :moves JSON, a list: [queue, kind, lane, by how much]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of tally
-- A damaged count stays within its bounds: an overflow would stop the whole queue.
insert into tally (queue, kind, lane, n)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(:moves) where true
on conflict (queue, kind, lane) do update
set n = max(min(n, 0x3fffffffffffffff), -0x3fffffffffffffff) + excluded.n
