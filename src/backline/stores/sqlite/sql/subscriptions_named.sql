-- subscriptions_named: a page of the subscriptions of some names, in the order they were made.
--   in     :names JSON, a list; :after the id before the page; :limit
--   out    a row a subscription: its columns, text as blobs
--   locks  none: a reader
--   index  the unique index on subscription (name); the page is sorted by id
select id, cast(name as blob), version, cast(spec as blob)
from subscription
where name in (select value from json_each(:names)) and id > :after
order by id limit :limit
