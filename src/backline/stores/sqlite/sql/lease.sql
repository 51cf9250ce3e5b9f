-- lease: give a worker the first :want ready jobs of one queue and lane.
--   in     :queue id; :lane; :want; :worker; :call; :until, the tick at which the leases
--          are over; :now; :expiring 1 if jobs past their expiry may be among them
--   out    nothing; as many rows changed as jobs were leased; `leased` reads them
--   locks  the writer's turn
--   index  job_ready, in its order: no sort, no scan
-- A damaged count stays at the largest integer: an overflow would stop the whole queue.
update job
set state = 'running', attempt = min(attempt, 0x7ffffffffffffffe) + 1,
    worker = :worker, call = :call,
    until = :until, started_at = :now
where seq in (
    select seq from job indexed by job_ready
    where state = 'ready' and queue = :queue and lane = :lane
        and (not :expiring or expires_at is null or expires_at > :now or attempt > 0)
    order by rank, position, seq
    limit :want
)
