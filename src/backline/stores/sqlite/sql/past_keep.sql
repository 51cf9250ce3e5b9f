-- past_keep: finished jobs whose time to be kept is over.
--   in     :now; :limit
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  job_over, at most :limit entries a queue and state
select cast(json_group_array(json_array(seq, queue, lane, state, ties)) as blob)
from (
    select job.* from queue
    cross join json_each('["succeeded","dead","cancelled","expired"]') as ending
    cross join job on job.seq in (
        select seq from job as mine indexed by job_over
        where mine.purge_at is not null and mine.queue = queue.id
            and mine.state = ending.value and mine.purge_at <= :now
        order by mine.purge_at
        limit :limit
    )
    limit :limit
)
