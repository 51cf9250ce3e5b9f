-- join_limits: let jobs stand where their limits put them.
--   in     :jobs JSON, a list: [seq, state, gate or null, slot, pace or null, permit or null,
--          weight]; with gate null it stays as it is, with its slot, and may run
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set state = joined.value ->> 1, asleep = 0,
    gate = coalesce(joined.value ->> 2, gate),
    slot = iif(joined.value ->> 2 is null, iif(slot > 0, 1, slot), joined.value ->> 3),
    pace = joined.value ->> 4, permit = joined.value ->> 5, weight = joined.value ->> 6
from json_each(:jobs) as joined
where job.seq = joined.value ->> 0
