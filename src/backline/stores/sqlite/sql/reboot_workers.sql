-- reboot_workers: no worker of an older boot lives; their ticks mean nothing any more.
--   in     :tick
--   out    nothing
--   locks  the writer's turn
--   index  none: as many rows as there were workers within a day
update worker set seen = :tick
