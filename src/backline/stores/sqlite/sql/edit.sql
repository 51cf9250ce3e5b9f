-- edit: change the queue, the priority or the due time of jobs that have not started.
--   in     :seqs JSON, the jobs; :queue id, :rank, :due: null for what stays
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set queue = coalesce(:queue, queue), rank = coalesce(:rank, rank), due = coalesce(:due, due)
where seq in (select value from json_each(:seqs))
