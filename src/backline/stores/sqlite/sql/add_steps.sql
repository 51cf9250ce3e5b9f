-- add_steps: record steps; one that is there already stays as it is.
--   in     :steps JSON, a list: [job's id, name, attempt, start and length of the value in the
--          blob :values (0 and 0: none), wake_at or null]; :now
--   out    nothing
--   locks  the writer's turn
--   index  the unique one of step, for its conflicts
insert into step (job, name, attempt, value, recorded_at, wake_at)
select
    done.value ->> 0, done.value ->> 1, done.value ->> 2, iif(
        done.value ->> 3,
        cast(substr(:values, done.value ->> 3, done.value ->> 4) as text),
        null
    ), :now, done.value ->> 5
from json_each(:steps) as done where true
on conflict (job, name) do nothing
