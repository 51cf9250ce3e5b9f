-- promote: make jobs ready.
--   in     :seqs JSON, scheduled jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set state = 'ready' where seq in (select value from json_each(:seqs))
