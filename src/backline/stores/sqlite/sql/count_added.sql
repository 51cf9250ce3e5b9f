-- count_added: count in their groups the jobs that an insert just added.
--   in     :first and :last, the rowids they have; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary keys; the jobs of the call are grouped
-- Damaged counts stay within their bounds, as those of `tally`.
update job_group
set added = min(added, 0x3fffffffffffffff) + counted.n, touched = :now
from (
    select job.batch, count(*) as n from job
    where job.seq between :first and :last and job.batch is not null
    group by job.batch
) as counted
where job_group.seq = counted.batch
