-- clear_edges: drop what damage has left of older jobs, whose rowids new ones have now.
--   in     :first and :last, the rowids of the new jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of edge
delete from edge where child between :first and :last
