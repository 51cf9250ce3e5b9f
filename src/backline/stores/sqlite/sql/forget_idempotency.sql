-- forget_idempotency: drop idempotency keys whose time is over.
--   in     :now; :limit
--   out    nothing; as many rows changed as were dropped
--   locks  the writer's turn
--   index  idempotency_key_until
delete from idempotency_key where name in (
    select name from idempotency_key indexed by idempotency_key_until
    where until <= :now order by until limit :limit
)
