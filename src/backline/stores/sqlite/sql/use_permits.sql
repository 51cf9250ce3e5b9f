-- use_permits: the jobs that a call leased have used up their permits.
--   in     :worker; :call
--   out    nothing
--   locks  the writer's turn
--   index  job_held
update job indexed by job_held set pace = null, permit = null
where state = 'running' and worker = :worker and call = :call and permit = 1
