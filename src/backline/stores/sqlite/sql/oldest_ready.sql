-- oldest_ready: when the ready job that has waited longest became due, by queue.
--   in     nothing
--   out    a row a queue that has ready jobs: its id, a wall time
--   locks  none: a reader
--   index  job_ready: one entry for each queue, lane and priority in use
with recursive level (queue, lane, rank, due) as (
    select * from (
        select queue, lane, rank, due from job indexed by job_ready
        where state = 'ready' order by queue, lane, rank, due limit 1
    )
    union all
    select next.queue, next.lane, next.rank, next.due
    from level cross join job as next on next.seq = (
        select seq from job as later indexed by job_ready
        where later.state = 'ready'
            and (later.queue, later.lane, later.rank) > (level.queue, level.lane, level.rank)
        order by later.queue, later.lane, later.rank, later.due
        limit 1
    )
)
select queue, min(due) from level group by queue
