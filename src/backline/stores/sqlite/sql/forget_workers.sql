-- forget_workers: drop workers that hold nothing and were not heard of for a day.
--   in     :before, a tick
--   out    nothing
--   locks  the writer's turn
--   index  none: as many rows as there were workers within a day
delete from worker
where seen <= :before and not exists (
    select 1 from job indexed by job_held
    where job.state = 'running' and job.worker = worker.name
)
