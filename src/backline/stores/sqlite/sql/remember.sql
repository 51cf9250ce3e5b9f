-- remember: keep of jobs that are about to be purged what late repeats are told by.
--   in     :seqs JSON, the jobs; :forget_at
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
insert into purged (id, attempt, worker, state, forget_at)
select id, attempt, worker, state, :forget_at from job
where seq in (select value from json_each(:seqs))
on conflict (id) do nothing
