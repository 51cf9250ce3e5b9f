-- mark_groups: note of groups that jobs wait for their ends.
--   in     :ids JSON, a list
--   out    nothing
--   locks  the writer's turn
--   index  the unique one on job_group (id)
update job_group set followed = 1 where id in (select value from json_each(:ids))
