-- configure: change the settings of a queue that is there.
--   in     :queue name; :max_depth, :paused, :concurrency, :interval, :burst, :arrival,
--          :weights, :ageing; :set_max_depth, :set_paused, :set_concurrency, :set_interval,
--          :set_burst, :set_weights, :set_ageing, 1 for those that change, :arrival with the
--          interval;
--          :declared JSON, all that was declared in code, or null: as it is
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on queue (name)
update queue
set max_depth = iif(:set_max_depth, :max_depth, max_depth),
    paused = iif(:set_paused, :paused, paused),
    concurrency = iif(:set_concurrency, :concurrency, concurrency),
    interval = iif(:set_interval, :interval, interval),
    burst = iif(:set_burst, :burst, burst),
    arrival = iif(:set_interval, :arrival, arrival),
    weights = iif(:set_weights, :weights, weights),
    ageing = iif(:set_ageing, :ageing, ageing),
    declared = coalesce(:declared, declared)
where name = :queue and (:declared is null or declared is not :declared)
