-- wake_at: let the sleeps and waits of jobs that are not over yet be over at another time.
--   in     :seqs JSON, the jobs; :due; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job, step_name
update step set wake_at = :due
where wake_at > :now and coalesce(waits, 1) and job in (
    select job.id from json_each(:seqs) as edited cross join job on job.seq = edited.value
)
