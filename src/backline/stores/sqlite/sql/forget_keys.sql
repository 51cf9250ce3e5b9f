-- forget_keys: drop unique keys whose time is over and whose holder is purged.
--   in     :now; :limit
--   out    nothing
--   locks  the writer's turn
--   index  unique_key_orphan
delete from unique_key where name in (
    select name from unique_key indexed by unique_key_orphan
    where orphan = 1 and until <= :now limit :limit
)
