-- leave: those of some jobs which may not run any more, by their state, give up their slots
--        and permits. With one slot, one that waits for a retry keeps it, and so does a dead one
--        whose gate says so.
--   in     :seqs JSON, the jobs; :wholly 1: whatever their states
--   out    nothing
--   locks  the writer's turn
--   index  the primary keys of job and gate
update job set gate = null, slot = null, pace = null, permit = null
where seq in (select value from json_each(:seqs))
    and (gate is not null or pace is not null)
    and case
        when :wholly then 1
        when state = 'scheduled' then coalesce((select slots > 1 from gate where id = job.gate), 1)
        when state = 'dead' then coalesce((select not blocks from gate where id = job.gate), 1)
        else 1
    end
