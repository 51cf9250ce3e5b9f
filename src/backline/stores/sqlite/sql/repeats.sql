-- repeats: whether a call that may lease nothing is the repeat of the worker's last one.
--   in     :worker; :call
--   out    1, or no row
--   locks  none
--   index  the primary key of worker
select 1 from worker where name = :worker and call = :call and not retired
