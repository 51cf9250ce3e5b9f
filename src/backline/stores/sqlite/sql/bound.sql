-- bound: for whom it still matters how some jobs end: they wait, or were cancelled for it.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [child's seq, place, null]
--   locks  the writer's turn
--   index  the primary key of job; edge_parent
select cast(json_group_array(json_array(edge.child, edge.place, null)) as blob)
from json_each(:seqs) as again cross join job on job.seq = again.value
cross join edge indexed by edge_parent on edge.parent = job.id
cross join job as child on child.seq = edge.child
where (child.state = 'waiting' and child.gate is null and child.pace is null)
    or (child.state = 'cancelled' and child.follows = 1)
