-- keep_slots: note that some jobs keep their slots until they may run again.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set slot = 2 where seq in (select value from json_each(:seqs)) and slot > 0
