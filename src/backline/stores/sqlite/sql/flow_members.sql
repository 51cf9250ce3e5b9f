-- flow_members: jobs of a flow that live, and were not asked to stop.
--   in     :flow; :limit
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  job_group_flow; job_batch
select cast(json_group_array(json_array(seq, queue, lane, state, ties)) as blob)
from (
    select job.* from job_group indexed by job_group_flow
    cross join job indexed by job_batch
        on job.batch is not null and job.purge_at is null and job.batch = job_group.seq
    where job_group.flow = :flow and not (job.state = 'running' and job.cancel)
    limit :limit
)
