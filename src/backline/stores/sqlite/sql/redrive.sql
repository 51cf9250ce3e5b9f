-- redrive: let ended jobs live again, their failures forgotten; `make_ready` follows.
--   in     :seqs JSON, the jobs; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set failures = 0, cancel = 0, due = :now,
    redrives = min(redrives, 0x7ffffffffffffffe) + 1,
    expires_at = null, finished_at = null, purge_at = null, result = null
where seq in (select value from json_each(:seqs))
