-- held: the leases of one worker.
--   in     :worker
--   out    a row a lease: the cells of a `HeldLease`
--   locks  none: a reader
--   index  job_held
select id, attempt, cast(task as blob),
    (select name from queue where queue.id = job.queue), lane, failures, losses, releases,
    cast(terms as blob), worker, until, cancel
from job indexed by job_held
where state = 'running' and worker = :worker
