-- request_cancel: ask the workers of running jobs to cancel them.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set cancel = 1 where seq in (select value from json_each(:seqs))
