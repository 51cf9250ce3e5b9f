-- listening: the subscriptions that some events may concern.
--   in     :names JSON, the names of the events; :wild JSON, subscriptions with a pattern that
--          matches one of them
--   out    a row a subscription: its columns, text as blobs
--   locks  none
--   index  the primary keys of topic, whose names are looked up, and of subscription;
--          the union is sorted
select id, cast(name as blob), version, cast(spec as blob)
from subscription
where id in (
    select subscription from topic where pattern in (select value from json_each(:names))
    union
    select value from json_each(:wild)
)
