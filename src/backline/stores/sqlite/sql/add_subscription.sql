-- add_subscription: make a subscription if there is none of that name.
--   in     :name, :new_version; :spec JSON
--   out    a row if it was made: its id
--   locks  the writer's turn
--   index  the unique index on subscription (name)
insert into subscription (name, version, spec) values (:name, :new_version, :spec)
on conflict (name) do nothing
returning id
