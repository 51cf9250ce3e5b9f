-- orphan_keys: the holders of unique keys are about to be purged.
--   in     :seqs JSON, the jobs
--   out    nothing
--   locks  the writer's turn
--   index  the primary keys of job and unique_key
update unique_key set orphan = 1
where (name, holder) in (
    select job.unique_key, job.id
    from json_each(:seqs) as gone cross join job on job.seq = gone.value
)
