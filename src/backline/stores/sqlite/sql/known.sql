-- known: which ids belong to jobs that were added before, purged or not.
--   in     :ids JSON, a list
--   out    one JSON list of those that do
--   locks  none
--   index  job_id and the primary key of purged
select json_group_array(wanted.value)
from json_each(:ids) as wanted
where exists (select 1 from job where job.id = wanted.value)
    or exists (select 1 from purged where purged.id = wanted.value)
