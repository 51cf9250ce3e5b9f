-- keys_of: the unique keys of some jobs, whoever holds them.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [seq, name of its key, its id, its enqueue time]
--   locks  the writer's turn
--   index  the primary key of job
select cast(json_group_array(json_array(job.seq, job.unique_key, job.id, job.enqueued_at)) as blob)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
where unique_key is not null
