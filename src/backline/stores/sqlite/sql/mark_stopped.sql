-- mark_stopped: note of jobs that they are cancelled because of how a parent ended.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set follows = 1 where seq in (select value from json_each(:seqs))
