-- extend: let leases last until a later tick.
--   in     :seqs JSON, the jobs, all running; :until
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set until = :until where seq in (select value from json_each(:seqs))
