-- added: count the jobs that an insert just added, when some of its rows were known before.
--   in     :first and :last, the rowids they have
--   out    one JSON list: [queue, lane, state, how many]
--   locks  the writer's turn
--   index  the primary key of job; the jobs of the call are grouped
select json_group_array(json_array(queue, lane, state, n))
from (
    select queue, lane, state, count(*) as n
    from job where seq between :first and :last
    group by queue, lane, state
)
