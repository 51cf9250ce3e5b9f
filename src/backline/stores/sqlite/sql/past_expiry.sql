-- past_expiry: jobs past their expiry that were never started, earliest first.
--   in     :now; :limit
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  job_expiry, in its order
select cast(json_group_array(json_array(seq, queue, lane, state, ties)) as blob)
from (
    select * from job indexed by job_expiry
    where expires_at is not null and attempt = 0 and purge_at is null and expires_at <= :now
    order by expires_at
    limit :limit
)
