-- begin_call: note that a worker's call leases jobs; changes nothing if it must not.
--   in     :worker; :call; :tick
--   out    nothing; one row changed: it may lease
--   locks  the writer's turn
--   index  the primary key of worker
insert into worker (name, call, seen) values (:worker, :call, :tick)
on conflict (name) do update set call = excluded.call, seen = excluded.seen
where not retired and (call is null or call < excluded.call)
