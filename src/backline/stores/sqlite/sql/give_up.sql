-- give_up: let waits be over without an event, unless one has ended them.
--   in     :waits JSON, a list: [job's id, name]
--   out    nothing
--   locks  the writer's turn
--   index  step_name, a look-up a wait
update step set waits = 0
from json_each(:waits) as over
where step.job = over.value ->> 0 and step.name = over.value ->> 1 and step.waits = 1
