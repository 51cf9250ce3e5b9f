-- unblock: take the slots of dead jobs at gates where these keep none (any more).
--   in     :gates JSON, a list of ids
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of gate, job_gate
update job set gate = null, slot = null
where state = 'dead' and seq in (
    select held.seq
    from json_each(:gates) as wanted
    cross join gate on gate.id = wanted.value and not gate.blocks
    cross join job as held indexed by job_gate
        on held.gate is not null and held.gate = gate.id and held.slot > 0
)
