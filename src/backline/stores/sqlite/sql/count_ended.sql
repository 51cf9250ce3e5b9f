-- count_ended: count in their groups jobs that have ended.
--   in     :seqs JSON, the jobs; :now
--   out    a row a group: its id if jobs wait for it and that matters to them, else null
--   locks  the writer's turn
--   index  the primary keys; the jobs of the call are grouped
-- Damaged counts stay within their bounds, as those of `tally`.
update job_group
set ended = min(ended, 0x3fffffffffffffff) + counted.n,
    failed = min(failed, 0x3fffffffffffffff) + counted.bad,
    touched = :now
from (
    select job.batch, count(*) as n, sum(job.state <> 'succeeded') as bad
    from json_each(:seqs) as gone cross join job on job.seq = gone.value
    group by job.batch
) as counted
where job_group.seq = counted.batch
returning iif(followed and (failed > 0 or ended >= added), cast(id as blob), null)
