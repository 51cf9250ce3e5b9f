-- change_subscription: change a subscription that is still the version it was read as.
--   in     :name, :version as read; :new_version; :spec JSON
--   out    a row if it was: its id
--   locks  the writer's turn
--   index  the unique index on subscription (name)
update subscription set version = :new_version, spec = :spec
where name = :name and version = :version
returning id
