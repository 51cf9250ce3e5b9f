-- gates: how many slots gates have, and how many are taken.
--   in     :gates JSON, a list: [queue, key]
--   out    one JSON list in the order given: [id, slots, taken, 1 if somebody waits]
--   locks  the writer's turn
--   index  the unique index on gate (queue, key), job_gate
select json_group_array(json_array(gate.id, gate.slots, max(gate.taken, 0), exists (
    select 1 from job indexed by job_gate
    where job.slot <> 1 and job.gate = gate.id and job.slot = 0
)))
from json_each(:gates) as wanted
cross join gate on gate.queue = wanted.value ->> 0 and gate.key = wanted.value ->> 1
