-- open_gates: which of some gates have a free slot for somebody who waits.
--   in     :gates JSON, a list of ids
--   out    one JSON list: [id, free slots]
--   locks  the writer's turn
--   index  the primary key of gate, job_gate
select json_group_array(json_array(id, slots - taken))
from (
    select gate.id, gate.slots, (
        select count(*) from job indexed by job_gate
        where job.gate is not null and job.gate = gate.id and job.slot > 0
    ) as taken
    from json_each(:gates) as wanted cross join gate on gate.id = wanted.value
    where exists (
        select 1 from job indexed by job_gate
        where job.gate is not null and job.gate = gate.id and job.slot = 0
    )
)
where slots > taken
