-- find_few: all jobs of some queues and states, when the counts say that they are few.
--   in     :queues JSON, a list of ids; :states JSON, a list
--   out    one JSON list: [id, seq]
--   locks  none: a reader
--   index  the index of each state
select json_group_array(json_array(job.id, job.seq))
from json_each(:queues) as wanted cross join job on job.seq in (
    select seq from job as a indexed by job_ready
    where a.state = 'ready' and a.queue = wanted.value
        and 'ready' in (select value from json_each(:states))
    union all
    select seq from job as b indexed by job_scheduled
    where b.state = 'scheduled' and b.queue = wanted.value
        and 'scheduled' in (select value from json_each(:states))
    union all
    select seq from job as c indexed by job_waiting
    where c.state = 'waiting' and c.queue = wanted.value
        and 'waiting' in (select value from json_each(:states))
    union all
    select seq from job as d indexed by job_until
    where d.state = 'running' and d.queue = wanted.value
        and 'running' in (select value from json_each(:states))
    union all
    select seq from job as e indexed by job_over
    where e.purge_at is not null and e.queue = wanted.value
        and e.state in (select value from json_each(:states))
)
