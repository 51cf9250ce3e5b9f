-- succeed_key: settle who holds a unique key once its predecessor or its holder has ended.
--   in     :name; :holder's id
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of unique_key
update unique_key set holder = :holder, predecessor = null where name = :name
