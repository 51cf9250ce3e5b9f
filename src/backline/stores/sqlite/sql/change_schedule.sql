-- change_schedule: change a schedule that is still the version it was read as.
--   in     :name, :version as read; :new_version, :paused, :last, :ran, :next; :spec and
--          :declared JSON or null
--   out    nothing; the rows changed say whether it was
--   locks  the writer's turn
--   index  the unique index on schedule (name)
update schedule
set version = :new_version, paused = :paused, last = :last, ran = :ran, next = :next,
    spec = :spec, declared = :declared
where name = :name and version = :version
