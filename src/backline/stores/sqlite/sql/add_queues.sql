-- add_queues: make the queues that are not there yet.
--   in     :names JSON, a list
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on queue (name)
insert into queue (name) select value from json_each(:names) where true
on conflict (name) do nothing
