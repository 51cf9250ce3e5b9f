-- give_turns: let jobs stand at their turns.
--   in     :turns JSON, a list: [seq, turn]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set turn = given.value ->> 1
from json_each(:turns) as given
where job.seq = given.value ->> 0
