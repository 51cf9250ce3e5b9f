-- set_gates: make gates, or set how many slots they have.
--   in     :gates JSON, a list: [queue, key, slots, 1 if a dead job keeps its own];
--          :declared 1 if those that are there change
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on gate (queue, key)
insert into gate (queue, key, slots, blocks)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(:gates) where true
on conflict (queue, key) do update set slots = excluded.slots, blocks = excluded.blocks
where :declared and (slots <> excluded.slots or blocks <> excluded.blocks)
