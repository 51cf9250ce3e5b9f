-- succeed_key: settle who holds a unique key once its predecessor or its holder has ended.
--   in     :name; :holder's id; :until when it is taken at least
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of unique_key
update unique_key set holder = :holder, until = :until, predecessor = null where name = :name
