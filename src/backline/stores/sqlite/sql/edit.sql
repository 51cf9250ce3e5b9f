-- edit: change the queue, the priority or the due time of jobs that have not started.
--   in     :seqs JSON, the jobs; :queue id, :rank, :due: null for what stays; :state, scheduled
--          or ready, for those that wait for no other job, or null: as it is
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set queue = coalesce(:queue, queue), rank = coalesce(:rank, rank), due = coalesce(:due, due),
    state = iif(state = 'waiting', state, coalesce(:state, state))
where seq in (select value from json_each(:seqs))
