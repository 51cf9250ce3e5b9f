-- report: note that workers live.
--   in     :reports JSON, a list: [worker, a `WorkerReport`]; :forget_tick
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of report
insert into report (worker, forget_tick, body)
select value ->> 0, :forget_tick, value ->> 1 from json_each(:reports) where true
on conflict (worker) do update
set forget_tick = excluded.forget_tick, body = excluded.body
