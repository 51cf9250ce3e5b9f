-- reversions: the unique keys that some jobs hold while they wait for a predecessor.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [key, the predecessor's id, its unique_until]
--   locks  the writer's turn
--   index  the primary keys
select cast(json_group_array(json_array(
    key.name, coalesce(before.id, key.holder), coalesce(before.unique_until, 0)
)) as blob)
from json_each(:seqs) as over
cross join job as mine on mine.seq = over.value
cross join unique_key as key on key.name = mine.unique_key and key.holder = mine.id
left join job as before on before.seq = key.predecessor
where key.predecessor is not null
