-- retire: from now on this worker leases nothing.
--   in     :worker; :tick
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of worker
insert into worker (name, retired, seen) values (:worker, 1, :tick)
on conflict (name) do update set retired = 1, seen = excluded.seen
