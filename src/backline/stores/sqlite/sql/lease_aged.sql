-- lease_aged: the same as `lease`, where each priority counts as :ageing of waiting.
--   in     :queue id; :lane; :want; :worker; :call; :until, the tick at which the leases
--          are over; :now; :expiring 1 if jobs past their expiry may be among them; :ageing
--   out    nothing; as many rows changed as jobs were leased; `leased` reads them
--   locks  the writer's turn
--   index  job_ready: from the first entry of each priority to the next, then a merge of the
--          priorities, which is sorted: one entry of each, and one more for each job leased
-- A job never passes one before it of its own priority: it counts as no older than that.
-- A damaged count stays at the largest integer: an overflow would stop the whole queue.
with recursive level (rank) as (
    select * from (
        select rank from job indexed by job_ready
        where state = 'ready' and queue = :queue and lane = :lane
        order by rank limit 1
    )
    union all
    select next.rank
    from level cross join job as next on next.seq = (
        select seq from job as lower indexed by job_ready
        where lower.state = 'ready' and lower.queue = :queue and lower.lane = :lane
            and lower.rank > level.rank
        order by lower.rank limit 1
    )
), aged (seq, rank, position, worth) as (
    select job.seq, job.rank, job.position, job.due + job.rank * :ageing
    from level cross join job on job.seq = (
        select seq from job as mine indexed by job_ready
        where mine.state = 'ready' and mine.queue = :queue and mine.lane = :lane
            and mine.rank = level.rank
            and (not :expiring or mine.expires_at is null or mine.expires_at > :now
                or mine.attempt > 0)
        order by mine.position, mine.seq
        limit 1
    )
    union all
    select next.seq, next.rank, next.position, max(
        aged.worth, next.due + next.rank * :ageing
    )
    from aged cross join job as next on next.seq = coalesce((
        select seq from job as beside indexed by job_ready
        where beside.state = 'ready' and beside.queue = :queue and beside.lane = :lane
            and beside.rank = aged.rank and beside.position = aged.position
            and beside.seq > aged.seq
            and (not :expiring or beside.expires_at is null or beside.expires_at > :now
                or beside.attempt > 0)
        order by beside.seq
        limit 1
    ), (
        select seq from job as later indexed by job_ready
        where later.state = 'ready' and later.queue = :queue and later.lane = :lane
            and later.rank = aged.rank and later.position > aged.position
            and (not :expiring or later.expires_at is null or later.expires_at > :now
                or later.attempt > 0)
        order by later.position, later.seq
        limit 1
    ))
    order by 4, 2, 3, 1
    limit :want
)
update job
set state = 'running', attempt = min(attempt, 0x7ffffffffffffffe) + 1,
    worker = :worker, call = :call,
    until = :until, started_at = :now
where seq in (select seq from aged)
