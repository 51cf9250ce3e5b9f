-- move_paces: note what starts have used up, and when the next one may be.
--   in     :paces JSON, a list: [id, arrival, next or null]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of pace
update pace set arrival = moved.value ->> 1, next = moved.value ->> 2
from json_each(:paces) as moved
where pace.id = moved.value ->> 0
