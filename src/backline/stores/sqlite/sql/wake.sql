-- wake: let the time of jobs that sleep come now.
--   in     :seqs JSON, the jobs; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set due = :now where seq in (select value from json_each(:seqs))
