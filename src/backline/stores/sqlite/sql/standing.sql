-- standing: which of some jobs stand at a gate or a pace.
--   in     :seqs JSON, the jobs
--   out    one JSON list: those that do
--   locks  the writer's turn
--   index  the primary key of job
select json_group_array(job.seq)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
where job.gate is not null or job.pace is not null
