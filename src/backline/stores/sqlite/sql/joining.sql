-- joining: what decides whether jobs may be ready now.
--   in     :seqs JSON, the jobs
--   out    a row a job: rank, due, seq, 1 if it has a slot already, its limits
--   locks  the writer's turn
--   index  the primary key of job
select job.rank, job.due, job.seq, job.gate is not null and job.slot > 0,
    cast(job.limits as blob)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
