-- keys_of: the unique keys of some jobs, whoever holds them.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [name of its key, its id, until when it is taken at least]
--   locks  the writer's turn
--   index  the primary key of job
select cast(json_group_array(json_array(job.unique_key, job.id, job.unique_until)) as blob)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
where unique_key is not null
