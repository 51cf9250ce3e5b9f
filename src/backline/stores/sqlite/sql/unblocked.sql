-- unblocked: the dead jobs that keep slots at gates where these keep none (any more).
--   in     :gates JSON, a list of ids
--   out    a JSON list of the jobs
--   locks  the writer's turn
--   index  the primary key of gate, job_gate
select json_group_array(job.seq)
from json_each(:gates) as wanted
cross join gate on gate.id = wanted.value and not gate.blocks
cross join job indexed by job_gate
    on job.slot <> 1 and job.gate = gate.id and job.slot > 1
where job.state = 'dead'
