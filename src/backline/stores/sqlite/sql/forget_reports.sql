-- forget_reports: drop the reports that were not repeated in time.
--   in     :tick
--   out    nothing
--   locks  the writer's turn
--   index  none: one row a worker
delete from report where forget_tick <= :tick
