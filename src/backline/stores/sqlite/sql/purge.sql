-- purge: take finished jobs out.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
delete from job where seq in (select value from json_each(:seqs))
