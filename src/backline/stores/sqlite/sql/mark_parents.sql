-- mark_parents: note of jobs that others wait for their ends.
--   in     :ids JSON, a list
--   out    nothing
--   locks  the writer's turn
--   index  job_id
update job set followed = 1
where id in (select value from json_each(:ids)) and followed is null
