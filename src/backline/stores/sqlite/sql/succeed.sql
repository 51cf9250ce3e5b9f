-- succeed: record jobs that ran well and left nothing to keep.
--   in     :seqs JSON, the jobs, all running; :worker; :now; :keep, how long they stay readable
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set state = 'succeeded', finished_at = :now, purge_at = :now + :keep,
    worker = :worker, call = null, until = null
where seq in (select value from json_each(:seqs))
