-- count_slots: move the counts of how many slots are taken.
--   in     :moves JSON, an object: how many more are taken, or less, by gate
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of gate
-- A damaged count stays within what can be added to: an overflow would stop every other key.
update gate
set taken = max(-0x1fffffffffffff, min(taken, 0x1fffffffffffff)) + moved.value
from json_each(:moves) as moved
where gate.id = cast(moved.key as integer)
