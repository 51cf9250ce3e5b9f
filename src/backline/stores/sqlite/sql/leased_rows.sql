-- leased_rows: the same as `leased`, row by row, for when one of them cannot be read.
--   in     :worker; :call
--   out    [seq, queue, ties, cells of a LeasedJob in its order], the text ones as blobs
--   locks  none
--   index  job_held, in its order
select seq, queue, ties, cast(id as blob), attempt,
    cast(task as blob), (select cast(name as blob) from queue where queue.id = job.queue), lane,
    failures, losses, releases,
    cast(terms as blob), -rank, enqueued_at, due,
    cast(headers as blob), cast(tags as blob), cast(payload as blob), steps,
    iif(follows is null, null, (
        select cast(coalesce('{' || group_concat(
            json_quote(coalesce(edge.asked, edge.parent)) || ':' || coalesce(edge.result, 'null')
        ) || '}', '{}') as blob)
        from edge where edge.child = job.seq and edge.wanted
    ))
from job indexed by job_held
where state = 'running' and worker = :worker and call = :call
order by rank, position, seq
