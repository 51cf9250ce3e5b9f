-- publish: remember events, and keep those that are the first of their name and key.
--   in     :events JSON, a row an event, no two with an id or a name and key alike:
--          [id, name, key, payload, at, until, jobs]
--   out    nothing
--   locks  the writer's turn
--   index  event_key, to see who was first
insert into event (id, name, key, payload, at, until, jobs)
select
    new.value ->> 0, new.value ->> 1,
    iif(kept.id is null, new.value ->> 2, null), iif(kept.id is null, new.value ->> 3, null),
    new.value ->> 4, new.value ->> 5, new.value ->> 6
from json_each(:events) as new
left join event as kept indexed by event_key
    on kept.name = new.value ->> 1 and kept.key = new.value ->> 2
