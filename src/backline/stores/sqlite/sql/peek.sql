-- peek: whether an exchange without acks would find anything to do; asked before a
-- transaction is opened, so that a woken worker with no work writes nothing.
--   in     :demand JSON, a list: [queue name, lane]; :names JSON, the queues asked for;
--          :worker; :call; :now; :tick
--   out    one row: 1 or 0; what `next_in` answers; until when a queue's own rate holds back
--          a job that is asked for, or null
--   locks  none: a reader
--   index  job_ready, job_held, job_scheduled and pace_next, one entry a look; of queues with
--          a limit the primary key of tally
select exists (
    select 1 from json_each(:demand) as wanted
    cross join queue on queue.name = wanted.value ->> 0 and not queue.paused
    where exists (
        select 1 from job indexed by job_ready
        where state = 'ready' and job.queue = queue.id and job.lane = wanted.value ->> 1
    ) and (queue.interval is null
        or queue.arrival - (coalesce(queue.burst, 1) - 1) * queue.interval <= :tick
    ) and (queue.concurrency is null or queue.concurrency > (
        select total(n) from tally where tally.queue = queue.id and kind = 'running'
    ))
) or exists (
    select 1 from job indexed by job_held
    where state = 'running' and worker = :worker and call = :call
), (
    select max(0, min((
        select due from job indexed by job_scheduled
        where state = 'scheduled' and job.queue = queue.id order by due limit 1
    )) - :now)
    from json_each(:names) as wanted cross join queue on queue.name = wanted.value
), (
    select max(0, min((
        select next from pace indexed by pace_next
        where next is not null and pace.queue = queue.id order by next limit 1
    )) - :tick)
    from json_each(:names) as wanted cross join queue on queue.name = wanted.value
), (
    select cast(min(
        queue.arrival - (coalesce(queue.burst, 1) - 1) * queue.interval
    ) - :tick as integer)
    from json_each(:demand) as wanted cross join queue on queue.name = wanted.value ->> 0
    where queue.arrival - (coalesce(queue.burst, 1) - 1) * queue.interval > :tick and exists (
        select 1 from job indexed by job_ready
        where state = 'ready' and job.queue = queue.id and job.lane = wanted.value ->> 1
    )
)
