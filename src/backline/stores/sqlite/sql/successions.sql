-- successions: the unique keys whose holder waits for the end of one of some jobs.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [key, holder's id, its seq, unique_until]
--   locks  the writer's turn
--   index  unique_key_predecessor, a look-up a job; the primary key of unique_key, job_id
select cast(json_group_array(json_array(
    key.name, key.holder, holder.seq, holder.unique_until
)) as blob)
from json_each(:seqs) as over
cross join unique_key as key indexed by unique_key_predecessor
    on key.predecessor is not null and key.predecessor = over.value
cross join job as holder on holder.id = key.holder
