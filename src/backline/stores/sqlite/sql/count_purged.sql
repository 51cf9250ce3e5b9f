-- count_purged: count jobs that are about to be purged in their groups.
--   in     :seqs JSON, the jobs; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary keys; the jobs of the call are grouped
update job_group
set purged = min(purged, 0x3fffffffffffffff) + counted.n, touched = :now
from (
    select job.batch, count(*) as n
    from json_each(:seqs) as over cross join job on job.seq = over.value
    group by job.batch
) as counted
where job_group.seq = counted.batch
