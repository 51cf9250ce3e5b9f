-- successions: those unique keys of some jobs whose holder waits for a predecessor.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [key, holder's id, its seq, queue, lane, due, unique_until,
--          predecessor, its id, its unique_until]
--   locks  the writer's turn
--   index  the primary keys, job_id
select cast(json_group_array(json_array(
    key.name, key.holder, holder.seq, holder.queue, holder.lane, holder.due,
    holder.unique_until, key.predecessor, before.id, before.unique_until
)) as blob)
from json_each(:seqs) as wanted
cross join job as mine on mine.seq = wanted.value
cross join unique_key as key on key.name = mine.unique_key
cross join job as holder on holder.id = key.holder
left join job as before on before.seq = key.predecessor
where key.predecessor is not null
