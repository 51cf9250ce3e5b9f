-- add_waits: record waits for events; each is over at once if its event is kept, or it is given
-- up. One that is there already stays as it is.
--   in     :waits JSON, a list: [job's id, name, attempt, wake_at or null, name and key of the
--          event, 1 if given up]; :now
--   out    nothing
--   locks  the writer's turn
--   index  event_key; the unique one of step, for its conflicts
insert into step (
    job, name, attempt, recorded_at, wake_at, topic, key, waits, event, event_at, value
)
select
    new.value ->> 0, new.value ->> 1, new.value ->> 2, :now, new.value ->> 3,
    new.value ->> 4, new.value ->> 5, iif(new.value ->> 6 or event.id is not null, 0, 1),
    event.id, event.at, event.payload
from json_each(:waits) as new
left join event indexed by event_key
    on not new.value ->> 6 and event.until > :now
    and event.name = new.value ->> 4 and event.key = new.value ->> 5
where true
on conflict (job, name) do nothing
