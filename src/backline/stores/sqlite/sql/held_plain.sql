-- held_plain: which of these runs are under way.
--   in     :runs JSON, an object: the attempt by id
--   out    a row a queue, lane and ties: these, how many, JSON list of their seqs
--   locks  the writer's turn
--   index  job_id, a look-up a run; the jobs of the call are grouped
select job.queue, job.lane, job.ties, count(*), json_group_array(job.seq)
from json_each(:runs) as run cross join job on job.id = run.key
where job.attempt = run.value and job.state = 'running'
group by job.queue, job.lane, job.ties
