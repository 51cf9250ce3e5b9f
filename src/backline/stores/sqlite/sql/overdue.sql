-- overdue: leases that are over, the longest over first.
--   in     :tick; :limit
--   out    a row a lease: the cells of a `HeldLease`
--   locks  none: a reader
--   index  job_until, in its order: no sort, no scan
select id, attempt, cast(task as blob),
    (select name from queue where queue.id = job.queue), lane, failures, losses, releases,
    cast(terms as blob), worker, until, cancel
from job indexed by job_until
where state = 'running' and until <= :tick
order by until
limit :limit
