-- followers: who waits for the ends of some jobs.
--   in     :seqs JSON, the jobs
--   out    one JSON list: [child's seq, place]
--   locks  the writer's turn
--   index  the primary key of job; edge_parent
select cast(json_group_array(json_array(edge.child, edge.place)) as blob)
from json_each(:seqs) as over cross join job on job.seq = over.value
cross join edge indexed by edge_parent on edge.parent = job.id
where edge.ended is null
