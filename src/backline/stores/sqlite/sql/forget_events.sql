-- forget_events: forget events whose time is over.
--   in     :now; :limit
--   out    nothing; as many rows changed as were dropped
--   locks  the writer's turn
--   index  event_until
delete from event where id in (
    select id from event indexed by event_until
    where until <= :now order by until limit :limit
)
