-- forget_groups: drop groups whose jobs are all purged, for long enough.
--   in     :before, wall time; :limit
--   out    nothing
--   locks  the writer's turn
--   index  job_group_idle
delete from job_group where seq in (
    select seq from job_group indexed by job_group_idle
    where purged >= added and touched <= :before limit :limit
)
