-- forget_gates: take out gates at which nobody is, of those that follow one.
--   in     :after; :last
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of gate, job_gate
delete from gate
where id > :after and id <= :last and not exists (
    select 1 from job indexed by job_gate where job.slot <> 1 and job.gate = gate.id
) and taken = 0
