-- reboot_queues: forget what was used up in ticks of an older boot.
--   in     nothing
--   out    nothing
--   locks  the writer's turn
--   index  none
update queue set arrival = 0 where arrival <> 0
