-- find_few: all jobs of some queues and states, when the counts say that they are few.
--   in     :queues JSON, a list of ids; :ready, :scheduled, :waiting, :running, 1 for those
--          that are asked for; :over JSON, a list of the others
--   out    one JSON list: [id, seq]
--   locks  none: a reader
--   index  the index of each state
select cast(json_group_array(json_array(job.id, job.seq)) as blob)
from json_each(:queues) as wanted cross join job on job.seq in (
    select seq from job as a indexed by job_ready
    where :ready and a.state = 'ready' and a.queue = wanted.value
    union all
    select seq from job as b indexed by job_scheduled
    where :scheduled and b.state = 'scheduled' and b.queue = wanted.value
    union all
    select seq from job as c indexed by job_waiting
    where :waiting and c.state = 'waiting' and c.queue = wanted.value
    union all
    select seq from job as d indexed by job_until
    where :running and d.state = 'running' and d.queue = wanted.value
    union all
    select seq from job as e indexed by job_over
    where e.purge_at is not null and e.queue = wanted.value
        and e.state in (select value from json_each(:over))
)
