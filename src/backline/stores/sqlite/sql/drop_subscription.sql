-- drop_subscription: drop a subscription that is still the version it was read as.
--   in     :name, :version as read
--   out    a row if it was: the id it had
--   locks  the writer's turn
--   index  the unique index on subscription (name)
delete from subscription where name = :name and version = :version
returning id
