-- reboot_reports: drop the reports of workers of an older boot.
--   in     nothing
--   out    nothing
--   locks  the writer's turn
--   index  none
delete from report
