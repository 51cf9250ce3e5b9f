-- next_in: how long until the earliest scheduled job of some queues is due, or the first that
-- waits for its rate may start.
--   in     :queues JSON, a list of ids; :now; :tick
--   out    a row: two durations, 0 if it is time already, or null if there is none
--   locks  none
--   index  job_scheduled and pace_next, one entry a queue
select max(0, min((
    select due from job indexed by job_scheduled
    where state = 'scheduled' and queue = wanted.value order by due limit 1
)) - :now), max(0, min((
    select next from pace indexed by pace_next
    where next is not null and pace.queue = wanted.value order by next limit 1
)) - :tick)
from json_each(:queues) as wanted
