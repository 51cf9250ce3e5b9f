-- held_plain: which of these runs are under way, of jobs without a unique key.
--   in     :runs JSON, an object: the attempt by id
--   out    a row a queue and lane: queue, lane, how many, JSON list of their seqs
--   locks  the writer's turn
--   index  job_id, a look-up a run; the jobs of the call are grouped
select job.queue, job.lane, count(*), json_group_array(job.seq)
from json_each(:runs) as run cross join job on job.id = run.key
where job.attempt = run.value and job.state = 'running' and job.unique_key is null
group by job.queue, job.lane
