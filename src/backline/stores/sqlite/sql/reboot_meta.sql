-- reboot_meta: ticks count from another boot now.
--   in     :boot
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of meta
insert into meta (name, value) values ('boot', :boot)
on conflict (name) do update set value = excluded.value
