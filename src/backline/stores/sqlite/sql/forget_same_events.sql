-- forget_same_events: forget events whose time is over and whose id, or name and key, comes again.
--   in     :ids JSON, a list; :keys JSON, a row an event: [name, key]; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of event, and event_key
delete from event where until <= :now and id in (
    select value from json_each(:ids)
    union all
    select event.id from json_each(:keys) as wanted
    join event indexed by event_key
        on event.name = wanted.value ->> 0 and event.key = wanted.value ->> 1
)
