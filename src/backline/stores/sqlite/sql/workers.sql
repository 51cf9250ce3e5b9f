-- workers: the reports that are not forgotten, by name.
--   in     :tick
--   out    a row a worker: its report as JSON
--   locks  none: a reader
--   index  none: one row a worker, in the order of the primary key
select cast(body as blob) from report where forget_tick > :tick order by worker
