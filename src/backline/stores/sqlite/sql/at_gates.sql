-- at_gates: the first jobs that wait for a slot at each of some gates.
--   in     :gates JSON, a list of ids; :most of each
--   out    one JSON list in no order: [gate, rank, due, seq, queue, lane, pace or null, weight,
--          ties]
--   locks  the writer's turn
--   index  job_gate, in its order, at most :most entries a gate
select cast(json_group_array(json_array(
    job.gate, job.rank, job.due, job.seq, job.queue, job.lane, job.pace, job.weight,
    job.ties
)) as blob)
from json_each(:gates) as wanted cross join job on job.seq in (
    select seq from job as mine indexed by job_gate
    where mine.slot <> 1 and mine.gate = wanted.value and mine.slot = 0
    order by mine.rank, mine.due, mine.seq
    limit :most
)
