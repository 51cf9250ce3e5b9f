-- end: end jobs that were not running.
--   in     :ends JSON, a list: [seq, purge_at]; :state; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set state = :state, asleep = 0, finished_at = :now, purge_at = ended.value ->> 1
from json_each(:ends) as ended
where job.seq = ended.value ->> 0
