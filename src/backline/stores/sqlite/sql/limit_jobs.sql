-- limit_jobs: write the limits of jobs that were just added.
--   in     :jobs JSON, a list: [id, limits, gate or null, slot, pace or null, permit or null,
--          weight]
--   out    nothing
--   locks  the writer's turn
--   index  job_id, a look-up a job
update job
set limits = limited.value -> 1,
    gate = limited.value ->> 2, slot = limited.value ->> 3,
    pace = limited.value ->> 4, permit = limited.value ->> 5, weight = limited.value ->> 6
from json_each(:jobs) as limited
where job.id = limited.value ->> 0
