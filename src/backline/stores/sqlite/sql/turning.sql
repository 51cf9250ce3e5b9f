-- turning: which of some jobs are ready, and to get a turn.
--   in     :seqs JSON, the jobs
--   out    a row a job: queue, lane, rank, due, seq, fair_key as a blob
--   locks  the writer's turn
--   index  the primary key of job
select job.queue, job.lane, job.rank, job.due, job.seq, cast(job.fair_key as blob)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
where job.state = 'ready' and job.fair_key is not null and job.turn is null
