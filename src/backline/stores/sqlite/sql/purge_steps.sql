-- purge_steps: drop the steps of jobs.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job, step_name
delete from step where job in (
    select job.id from json_each(:seqs) as gone cross join job on job.seq = gone.value
)
