-- terms: what some jobs were promised, so that `Terms` can say how long they are kept.
--   in     :seqs JSON, the jobs
--   out    a row a job: seq, terms
--   locks  the writer's turn
--   index  the primary key of job
select job.seq, cast(job.terms as blob)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
