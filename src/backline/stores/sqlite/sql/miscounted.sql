-- miscounted: gates of which the count of slots is not how many jobs have one.
--   in     nothing
--   out    one JSON list: [gate, by how many it is too high]
--   locks  none: a reader
--   index  none: every gate; by job_ready, job_held, job_gate and job_pace every job that may have
--          a slot, which are grouped
select json_group_array(json_array(id, more)) from (
    select gate.id,
        max(-0x1fffffffffffff, min(gate.taken, 0x1fffffffffffff)) - coalesce(held.n, 0) as more
    from gate left join (
        select gate, count(*) as n
        from (
            select gate from job indexed by job_ready where state = 'ready' and slot > 0
            union all
            select gate from job indexed by job_held where state = 'running' and slot > 0
            union all
            select gate from job indexed by job_gate
            where slot <> 1 and slot > 1 and state not in ('ready', 'running')
            union all
            select gate from job indexed by job_pace
            where pace is not null and permit = 0 and slot = 1 and state = 'waiting'
        )
        group by gate
    ) as held on held.gate = gate.id
)
where more <> 0
