-- due_paces: paces which may let a job start by now.
--   in     :tick; :limit
--   out    one JSON list of ids
--   locks  the writer's turn
--   index  pace_next, at most :limit entries a queue
select json_group_array(id)
from (
    select pace.id from queue cross join pace on pace.id in (
        select id from pace as mine indexed by pace_next
        where mine.next is not null and mine.queue = queue.id and mine.next <= :tick
        order by mine.next
        limit :limit
    )
    limit :limit
)
