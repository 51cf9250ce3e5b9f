-- flow_stats: how far flows are.
--   in     :ids JSON, a list
--   out    a row a flow that there is: id, added, ended, failed, 1 if it was cancelled
--   locks  none: a reader
--   index  job_group_flow; the groups of a flow are added up
-- Damaged counts stay within bounds, or their sum would be an error.
select
    cast(job_group.flow as blob), sum(min(max(job_group.added, 0), 0xffffffffffff)),
    sum(min(max(job_group.ended, 0), 0xffffffffffff)),
    sum(min(max(job_group.failed, 0), 0xffffffffffff)), max(job_group.cancelled)
from json_each(:ids) as wanted
cross join job_group indexed by job_group_flow on job_group.flow = wanted.value
group by wanted.key
