-- delete_schedule: delete a schedule that is still the version it was read as.
--   in     :name, :version as read
--   out    nothing; the rows changed say whether it was
--   locks  the writer's turn
--   index  the unique index on schedule (name)
delete from schedule where name = :name and version = :version
