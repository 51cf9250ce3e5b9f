-- reboot_paces: forget what was used up in ticks of an older boot.
--   in     nothing
--   out    nothing
--   locks  the writer's turn
--   index  none
update pace set arrival = 0, next = iif(next is null, null, 0)
