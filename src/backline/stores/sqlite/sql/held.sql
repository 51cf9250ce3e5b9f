-- held: the leases of one worker.
--   in     :worker
--   out    a row a lease: the cells of a `HeldLease`
--   locks  none: a reader
--   index  job_held
select cast(id as blob), attempt, cast(task as blob),
    (select cast(name as blob) from queue where queue.id = job.queue), cast(lane as blob),
    failures, losses, releases,
    cast(terms as blob), cast(worker as blob), until, cancel
from job indexed by job_held
where state = 'running' and worker = :worker
