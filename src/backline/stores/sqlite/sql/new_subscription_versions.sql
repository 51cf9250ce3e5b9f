-- new_subscription_versions: give out versions of subscriptions that none had before.
--   in     :count how many
--   out    a row: the last of them
--   locks  the writer's turn
--   index  the primary key of meta
insert into meta (name, value) values ('subscription_version', :count)
on conflict (name) do update set value = cast(value as integer) + :count
returning cast(value as integer)
