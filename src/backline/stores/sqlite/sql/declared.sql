-- declared: what was declared in code of one queue so far.
--   in     :queue name
--   out    JSON, its settings, as a blob, or null; no row: there is no such queue
--   locks  none; within `configure`
--   index  the unique index on queue (name)
select cast(declared as blob) from queue where name = :queue
