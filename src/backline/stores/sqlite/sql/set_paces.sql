-- set_paces: make paces, or set how often they let a job start.
--   in     :paces JSON, a list: [queue, key, interval, burst]; :declared 1 if those that are
--          there change; :tick
--   out    nothing; as many rows changed as are new or others now
--   locks  the writer's turn
--   index  the unique index on pace (queue, key)
-- As many starts stay used up as were (`limits.repaced`).
insert into pace (queue, key, interval, burst)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(:paces) where true
on conflict (queue, key) do update
set interval = excluded.interval, burst = excluded.burst,
    arrival = iif(
        arrival > :tick,
        cast(:tick + min(
            (arrival - :tick + interval - 1) / max(interval, 1), 10000
        ) * excluded.interval as integer),
        arrival
    )
where :declared and (interval <> excluded.interval or burst <> excluded.burst)
