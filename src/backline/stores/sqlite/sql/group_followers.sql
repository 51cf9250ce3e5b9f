-- group_followers: for whom it matters how far some groups are.
--   in     :ids JSON, the groups
--   out    one JSON list: [child's seq, place, the state the group has for it, null: none yet]
--   locks  the writer's turn
--   index  the unique one on job_group (id); edge_parent; the primary key of job
select cast(json_group_array(json_array(edge.child, edge.place, case
        when job_group.failed > 0 and (edge.needs = 'success' or job_group.ended >= job_group.added) then 'dead'
        when job_group.ended >= job_group.added then 'succeeded'
    end)) as blob)
from json_each(:ids) as moved cross join job_group on job_group.id = moved.value
cross join edge indexed by edge_parent on edge.parent = job_group.id
cross join job as child on child.seq = edge.child
where (child.state = 'waiting' and child.gate is null and child.pace is null)
    or (child.state = 'cancelled' and child.follows = 1)
