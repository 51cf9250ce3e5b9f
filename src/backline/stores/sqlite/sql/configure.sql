-- configure: change the settings of a queue that is there.
--   in     :queue name; :max_depth; :paused; :set_depth and :set_paused, 1 for those that
--          change; :declared JSON, all that was declared in code, or null: as it is
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on queue (name)
update queue
set max_depth = iif(:set_depth, :max_depth, max_depth),
    paused = iif(:set_paused, :paused, paused),
    declared = coalesce(:declared, declared)
where name = :queue and (:declared is null or declared is not :declared)
