-- drop_edges: jobs are about to be purged: nobody asks any more what they waited for.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of edge
delete from edge where child in (select value from json_each(:seqs))
