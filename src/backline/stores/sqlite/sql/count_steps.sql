-- count_steps: note on jobs how many steps they have; a look at each entry of theirs.
--   in     :ids JSON, a list of jobs' ids
--   out    nothing
--   locks  the writer's turn
--   index  job_id, step_name
update job set steps = (select count(*) from step where step.job = job.id)
where id in (select value from json_each(:ids))
