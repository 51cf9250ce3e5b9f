-- count_slots: move the counts of how many slots are taken.
--   in     :moves JSON, a list: [gate, how many more, or less], each gate once
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of gate
-- A damaged count stays within what can be added to: an overflow would stop every other key.
update gate
set taken = max(-0x1fffffffffffff, min(taken, 0x1fffffffffffff)) + (moved.value ->> 1)
from json_each(:moves) as moved
where gate.id = moved.value ->> 0
