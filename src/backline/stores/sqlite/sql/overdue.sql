-- overdue: leases that are over, the longest over first.
--   in     :tick; :limit
--   out    a row a lease: the cells of a `HeldLease`
--   locks  none: a reader
--   index  job_until, in its order: no sort, no scan
select cast(id as blob), attempt, cast(task as blob),
    (select cast(name as blob) from queue where queue.id = job.queue), cast(lane as blob),
    failures, losses, releases,
    cast(terms as blob), cast(worker as blob), until, cancel
from job indexed by job_until
where state = 'running' and until <= :tick
order by until
limit :limit
