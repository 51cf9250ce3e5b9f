-- end_edges: keep with those that wait how their parents ended, and what these returned.
--   in     :edges JSON, a list: [child's seq, place]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of edge; job_id
update edge
set ended = parent.state,
    result = iif(edge.wanted and parent.state = 'succeeded', parent.result, null)
from json_each(:edges) as mine
cross join edge as same on same.child = mine.value ->> 0 and same.place = mine.value ->> 1
cross join job as parent on parent.id = same.parent
where edge.child = same.child and edge.place = same.place
