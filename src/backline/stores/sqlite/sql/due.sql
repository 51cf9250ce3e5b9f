-- due: scheduled jobs whose time has come, earliest first.
--   in     :now; :limit
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  job_scheduled, at most :limit entries a queue; these are sorted
select cast(json_group_array(json_array(seq, queue, lane, state, ties)) as blob)
from (
    select job.* from queue cross join job on job.seq in (
        select seq from job as mine indexed by job_scheduled
        where mine.state = 'scheduled' and mine.queue = queue.id and mine.due <= :now
        order by mine.due, mine.seq
        limit :limit
    )
    order by job.due, job.seq
    limit :limit
)
