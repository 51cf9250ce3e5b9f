-- groups: groups by id.
--   in     :ids JSON, a list
--   out    one JSON list: [id, seq, 1 if it is cancelled]
--   locks  the writer's turn
--   index  the unique one on job_group (id)
select cast(json_group_array(json_array(job_group.id, job_group.seq, job_group.cancelled)) as blob)
from json_each(:ids) as wanted cross join job_group on job_group.id = wanted.value
