-- make_ready: make jobs ready that have no limits.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set state = 'ready', asleep = 0 where seq in (select value from json_each(:seqs))
