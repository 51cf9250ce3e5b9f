-- edit: change the queue, the priority or the due time of jobs that have not started.
--   in     :seqs JSON, the jobs; :queue id, :rank, :due: null for what stays; :fair 1 if the
--          queue that they go to is
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set queue = coalesce(:queue, queue), rank = coalesce(:rank, rank), due = coalesce(:due, due),
    turn = null,
    fair_key = iif(:queue is null or fair_key <> '', fair_key, iif(:fair, '', null))
where seq in (select value from json_each(:seqs))
