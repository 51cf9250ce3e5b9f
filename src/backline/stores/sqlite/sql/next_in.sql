-- next_in: how long until the earliest scheduled job of some queues is due.
--   in     :queues JSON, a list of ids; :now
--   out    a duration, 0 if it is due already, or null if there is none
--   locks  none
--   index  job_scheduled, one entry a queue
select max(0, min((
    select due from job indexed by job_scheduled
    where state = 'scheduled' and queue = wanted.value order by due limit 1
)) - :now)
from json_each(:queues) as wanted
