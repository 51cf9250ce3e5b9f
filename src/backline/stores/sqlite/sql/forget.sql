-- forget: drop what was remembered of purged jobs for long enough.
--   in     :now; :limit
--   out    nothing; as many rows changed as were dropped
--   locks  the writer's turn
--   index  purged_forget
delete from purged where id in (
    select id from purged indexed by purged_forget
    where forget_at <= :now order by forget_at limit :limit
)
