-- kept_events: the first events of some names and keys.
--   in     :keys JSON, a row an event: [name, key]; :now
--   out    a row for each that is remembered: its columns but its jobs, text as blobs
--   locks  none: a reader
--   index  event_key
select
    cast(event.id as blob), cast(event.name as blob), cast(event.key as blob),
    cast(event.payload as blob), event.at, event.until
from json_each(:keys) as wanted
join event indexed by event_key
    on event.name = wanted.value ->> 0 and event.key = wanted.value ->> 1
where event.until > :now
