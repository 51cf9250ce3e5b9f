-- add_schedule: make a schedule if there is none of that name.
--   in     :name, :new_version, :paused, :last, :ran, :next; :spec and :declared JSON or null
--   out    nothing; the rows changed say whether it was made
--   locks  the writer's turn
--   index  the unique index on schedule (name)
insert into schedule (name, version, paused, last, ran, next, spec, declared)
values (:name, :new_version, :paused, :last, :ran, :next, :spec, :declared)
on conflict (name) do nothing
