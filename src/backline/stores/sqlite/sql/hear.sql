-- hear: let waits for some events be over; those whose time is over before are left alone.
--   in     :events JSON, a row an event, no two with a name and key alike: [name, key, id, at,
--          payload]; :now
--   out    nothing
--   locks  the writer's turn
--   index  step_waits, a look-up an event
update step
set waits = 0, event = new.value ->> 2, event_at = new.value ->> 3, value = new.value ->> 4
from json_each(:events) as new cross join step as mine indexed by step_waits
    on mine.waits = 1 and mine.topic = new.value ->> 0 and mine.key = new.value ->> 1
where step.nth = mine.nth and mine.wake_at > :now
