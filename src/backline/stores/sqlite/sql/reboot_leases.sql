-- reboot_leases: every lease of an older boot is over: its worker is gone.
--   in     nothing
--   out    nothing
--   locks  the writer's turn
--   index  job_until
update job set until = 0 where state = 'running'
