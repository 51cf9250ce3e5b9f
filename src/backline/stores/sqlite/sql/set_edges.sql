-- set_edges: note how far parents are.
--   in     :edges JSON, a list: [child's seq, place, state or null]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of edge
update edge set ended = mine.value ->> 2, result = null
from json_each(:edges) as mine
where edge.child = mine.value ->> 0 and edge.place = mine.value ->> 1
