-- permit: let jobs that wait for a permit be ready.
--   in     :seqs JSON, the jobs; :burst of their pace: none weighs more
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set state = 'ready', permit = 1, weight = min(coalesce(weight, 1), :burst)
where seq in (select value from json_each(:seqs))
