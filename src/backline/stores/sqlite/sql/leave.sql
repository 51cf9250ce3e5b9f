-- leave: take the slots and permits of some jobs.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set gate = null, slot = null, pace = null, permit = null
where seq in (select value from json_each(:seqs)) and (gate is not null or pace is not null)
