-- cancel_flows: what is added to flows from now on is to be cancelled.
--   in     :ids JSON, the flows
--   out    nothing
--   locks  the writer's turn
--   index  job_group_flow
update job_group set cancelled = 1
where flow in (select value from json_each(:ids)) and not cancelled
