-- any_ready: whether a queue has a ready job in a lane.
--   in     :queue id; :lane
--   out    1 or 0
--   locks  none
--   index  job_ready, its first entry
select exists (
    select 1 from job indexed by job_ready
    where state = 'ready' and queue = :queue and lane = :lane
)
