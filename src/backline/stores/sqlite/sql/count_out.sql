-- count_out: count jobs that live again as not ended.
--   in     :seqs JSON, the jobs; :now
--   out    a row a group: its id
--   locks  the writer's turn
--   index  the primary keys; the jobs of the call are grouped
update job_group
set ended = max(ended - counted.n, 0), failed = max(failed - counted.n, 0), touched = :now
from (
    select job.batch, count(*) as n
    from json_each(:seqs) as live cross join job on job.seq = live.value
    group by job.batch
) as counted
where job_group.seq = counted.batch
returning cast(id as blob)
