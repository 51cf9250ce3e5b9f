-- note_window: note a number, such as up to which id the last look for idle rows went.
--   in     :name of the note; :last
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of meta
insert into meta (name, value) values (:name, :last)
on conflict (name) do update set value = excluded.value
