-- revivable: which jobs were cancelled because of how a parent ended, and no parent forbids now.
--   in     :seqs JSON, the jobs
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  the primary keys
select cast(json_group_array(json_array(
    child.seq, child.queue, child.lane, child.state, child.ties
)) as blob)
from json_each(:seqs) as wanted cross join job as child on child.seq = wanted.value
where child.state = 'cancelled' and child.follows = 1
    and not exists (
            select 1 from edge
            where edge.child = child.seq and edge.ended is not null
                and case edge.needs
                    when 'success' then edge.ended <> 'succeeded'
                    when 'failure' then edge.ended = 'succeeded'
                end
        )
