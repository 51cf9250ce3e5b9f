-- take_keys: let jobs hold unique keys, in the place of whoever held them.
--   in     :keys JSON, a list: [name, holder's id, until, predecessor's seq or null, since]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of unique_key
insert into unique_key (name, holder, until, predecessor, since)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
from json_each(:keys) where true
on conflict (name) do update
set holder = excluded.holder, until = excluded.until, orphan = 0,
    predecessor = excluded.predecessor, since = excluded.since
