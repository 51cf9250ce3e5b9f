-- admit_successor: let a job that waited for its key's turn stand in its queue.
--   in     :seq; :state, scheduled or ready
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set state = :state where seq = :seq and state = 'waiting'
