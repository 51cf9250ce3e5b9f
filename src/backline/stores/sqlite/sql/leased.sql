-- leased: the jobs that a call leased and that still run, as JSON put together by hand, so
-- that payloads are copied once and never parsed (`||` copies all before it once more).
--   in     :worker; :call
--   out    one row: how many; JSON list of `LeasedJob`, in the order of each queue
--   locks  none
--   index  job_held, in its order: no sort, no scan; of jobs with parents that of edge
select count(*), cast('[' || group_concat(concat(
    '[', json_quote(job.id), ',', job.attempt, ',', json_quote(job.task), ',',
    (select json_quote(queue.name) from queue where queue.id = job.queue),
    ',"', job.lane, '",', job.failures, ',', job.losses, ',', job.releases,
    ',', job.terms, ',', -job.rank, ',', job.enqueued_at, ',', job.due,
    ',', job.headers, ',', job.tags, ',', job.payload, ',', job.steps,
    iif(job.follows is null, '', ',' || (
        select coalesce('{' || group_concat(
            json_quote(coalesce(edge.asked, edge.parent)) || ':' || coalesce(edge.result, 'null')
        ) || '}', '{}')
        from edge where edge.child = job.seq and edge.wanted
    )), ']'
)) || ']' as blob)
from job indexed by job_held
where state = 'running' and worker = :worker and call = :call
