-- add_groups: make groups that there are not yet; one of a cancelled flow is cancelled too.
--   in     :groups JSON, an object: the flow by group; :now
--   out    nothing
--   locks  the writer's turn
--   index  the unique one on job_group (id); job_group_flow
insert into job_group (id, flow, cancelled, touched)
select
    new.key, new.value, exists (
        select 1 from job_group as other where other.flow = new.value and other.cancelled
    ),
    :now
from json_each(:groups) as new where true
on conflict (id) do nothing
