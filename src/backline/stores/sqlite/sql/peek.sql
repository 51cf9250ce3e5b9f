-- peek: whether an exchange without acks would find anything to do; asked before a
-- transaction is opened, so that a woken worker with no work writes nothing.
--   in     :demand JSON, a list: [queue name, lane]; :worker; :call
--   out    1 or 0
--   locks  none: a reader
--   index  job_ready and job_held, one entry a look
select exists (
    select 1 from json_each(:demand) as wanted
    cross join queue on queue.name = wanted.value ->> 0 and not queue.paused
    where exists (
        select 1 from job indexed by job_ready
        where state = 'ready' and job.queue = queue.id and job.lane = wanted.value ->> 1
    )
) or exists (
    select 1 from job indexed by job_held
    where state = 'running' and worker = :worker and call = :call
)
