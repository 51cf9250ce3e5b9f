-- forget_keys: drop unique keys that an ended job held for long enough.
--   in     :now; :limit
--   out    nothing
--   locks  the writer's turn
--   index  unique_key_lapsing
delete from unique_key where name in (
    select name from unique_key indexed by unique_key_lapsing
    where live = 0 and until <= :now limit :limit
)
