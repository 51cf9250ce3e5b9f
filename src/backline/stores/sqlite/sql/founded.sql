-- founded: which ids the store knows, of those that jobs are to wait for.
--   in     :ids JSON, a list
--   out    one JSON list of those it knows: [id, 1 if its result can be read]
--   locks  the writer's turn
--   index  job_id, the primary key of purged, the unique one on job_group (id)
select cast(json_group_array(json_array(
    wanted.value, exists (select 1 from job where job.id = wanted.value)
)) as blob)
from json_each(:ids) as wanted
where exists (select 1 from job where job.id = wanted.value)
    or exists (select 1 from purged where purged.id = wanted.value)
    or exists (select 1 from job_group where job_group.id = wanted.value)
