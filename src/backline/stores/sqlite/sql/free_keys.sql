-- free_keys: the holders of these unique keys have ended.
--   in     :seqs JSON, the jobs that ended
--   out    nothing
--   locks  the writer's turn
--   index  the primary keys
update unique_key set live = 0
from json_each(:seqs) as ended cross join job on job.seq = ended.value
where unique_key.name = job.unique_key and unique_key.holder = job.id
    and unique_key.predecessor is null
