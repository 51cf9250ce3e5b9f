-- open_gates: which of some gates have a free slot for somebody who waits.
--   in     :gates JSON, a list of ids
--   out    one JSON list: [id, free slots]
--   locks  the writer's turn
--   index  the primary key of gate, job_gate
select json_group_array(json_array(gate.id, gate.slots - max(gate.taken, 0)))
from json_each(:gates) as wanted cross join gate on gate.id = wanted.value
where gate.slots > max(gate.taken, 0) and exists (
    select 1 from job indexed by job_gate
    where job.slot <> 1 and job.gate = wanted.value and job.slot = 0
)
