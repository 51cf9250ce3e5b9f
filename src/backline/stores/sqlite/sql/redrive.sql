-- redrive: let ended jobs live again, their failures forgotten.
--   in     :seqs JSON, the jobs; :waits 1: they wait for others; else `gates.join` follows; :now
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set state = case
        when :waits then 'waiting'
        when state in ('dead', 'cancelled', 'expired') then state
        else 'dead' -- damaged, and read as dead: the file would not take it as it is
    end,
    failures = 0, cancel = 0, due = :now,
    redrives = min(redrives, 0x7ffffffffffffffe) + 1,
    expires_at = null, finished_at = null, purge_at = null, result = null, turn = null,
    follows = iif(follows is null, null, 0)
where seq in (select value from json_each(:seqs))
