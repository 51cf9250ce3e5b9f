-- oldest_ready: when the ready job that has waited longest became due, by queue; of a
--   fair one, the first of each lane and priority.
--   in     nothing
--   out    a row a queue that has ready jobs: its id, a wall time
--   locks  none: a reader
--   index  job_ready: from the first entry of each queue, lane and priority to the next;
--          these are grouped
with recursive level (queue, lane, rank, due) as (
    select * from (
        select queue, lane, rank, due from job indexed by job_ready
        where state = 'ready' order by queue, lane, rank, position limit 1
    )
    union all
    select next.queue, next.lane, next.rank, next.due
    from level cross join job as next on next.seq = coalesce(
        (
            select seq from job as a indexed by job_ready
            where a.state = 'ready' and a.queue = level.queue and a.lane = level.lane
                and a.rank > level.rank
            order by a.rank, a.position limit 1
        ), (
            select seq from job as b indexed by job_ready
            where b.state = 'ready' and b.queue = level.queue and b.lane > level.lane
            order by b.lane, b.rank, b.position limit 1
        ), (
            select seq from job as c indexed by job_ready
            where c.state = 'ready' and c.queue > level.queue
            order by c.queue, c.lane, c.rank, c.position limit 1
        )
    )
)
select queue, min(due) from level group by queue
