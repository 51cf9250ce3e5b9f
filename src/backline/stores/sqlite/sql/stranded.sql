-- stranded: jobs that wait at gates that are not there, or for slots that they have: damage.
--   in     :most
--   out    a JSON list: [seq, queue, lane, state, ties]
--   locks  none
--   index  none: by job_gate every job that waits for a slot
select cast(json_group_array(json_array(seq, queue, lane, state, ties)) as blob) from (
    select seq, queue, lane, state, ties from job indexed by job_gate
    where slot <> 1 and state = 'waiting' and gate is not null
        and (slot > 1 or not exists (select 1 from gate where gate.id = job.gate))
    limit :most
)
