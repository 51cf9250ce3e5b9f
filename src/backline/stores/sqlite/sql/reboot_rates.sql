-- reboot_rates: drop the rates counted in ticks of an older boot.
--   in     nothing
--   out    nothing
--   locks  the writer's turn
--   index  none
delete from traffic
