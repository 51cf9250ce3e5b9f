-- succeed_limited: as `succeed`, for jobs that have limits: they leave their gates and paces.
--   in     :seqs JSON, the jobs, all running; :worker; :now; :keep, how long they stay readable
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set state = 'succeeded', finished_at = :now, purge_at = :now + :keep,
    worker = :worker, call = null, until = null,
    gate = null, slot = null, pace = null, permit = null
where seq in (select value from json_each(:seqs))
