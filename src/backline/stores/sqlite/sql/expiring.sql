-- expiring: whether any job is past its expiry and was never started.
--   in     :now
--   out    1 or 0
--   locks  none
--   index  job_expiry, its first entry
select exists (
    select 1 from job indexed by job_expiry
    where expires_at is not null and attempt = 0 and purge_at is null and expires_at <= :now
)
