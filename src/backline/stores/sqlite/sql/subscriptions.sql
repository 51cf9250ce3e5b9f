-- subscriptions: a page of subscriptions, in the order they were made.
--   in     :after the id before the page; :limit
--   out    a row a subscription: its columns, text as blobs
--   locks  none: a reader
--   index  the primary key of subscription, in its order
select id, cast(name as blob), version, cast(spec as blob)
from subscription
where id > :after
order by id limit :limit
