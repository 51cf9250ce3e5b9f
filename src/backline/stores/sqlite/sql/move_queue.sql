-- move_queue: note what starts have used up of the rate of a queue.
--   in     :queue id; :arrival
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of queue
update queue set arrival = :arrival where id = :queue
