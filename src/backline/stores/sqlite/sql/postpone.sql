-- postpone: let jobs wait for their time.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set state = 'scheduled' where seq in (select value from json_each(:seqs))
