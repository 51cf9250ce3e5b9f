-- verdicts: what becomes of jobs that wait, by how far those are that they wait for.
--   in     :seqs JSON, the jobs; :now
--   out    one JSON list of places: [seq, queue, lane, state, ties, the state it is to have];
--          of jobs that do wait for others, and not for their turn within limits
--   locks  the writer's turn
--   index  the primary keys; edge_open
select cast(json_group_array(json_array(
    child.seq, child.queue, child.lane, child.state, child.ties,
    case
        when child.follows is not null and exists (
            select 1 from edge
            where edge.child = child.seq and edge.ended is not null
                and case edge.needs
                    when 'success' then edge.ended <> 'succeeded'
                    when 'failure' then edge.ended = 'succeeded'
                end
        ) then 'cancelled'
        when child.follows is not null and exists (
            select 1 from edge indexed by edge_open
            where edge.child = child.seq and edge.ended is null
        ) then 'waiting'
        when child.unique_key is not null and exists (
            select 1 from unique_key as key
            where key.name = child.unique_key and key.holder = child.id
                and key.predecessor is not null
        ) then 'waiting'
        else iif(child.due > :now, 'scheduled', 'ready')
    end
)) as blob)
from json_each(:seqs) as wanted cross join job as child on child.seq = wanted.value
where child.state = 'waiting' and child.gate is null and child.pace is null
