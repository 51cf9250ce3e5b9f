-- forget_traffic: drop the seconds that no rate looks at any more.
--   in     :second, the last one to drop
--   out    nothing
--   locks  the writer's turn
--   index  none: at most a minute of seconds a queue
delete from traffic where second <= :second
