-- make_fair: make a queue fair that got jobs with fair keys.
--   in     :queue id; :seqs JSON, the jobs, or null: some are on their way
--   out    nothing; a row changed if it was not fair, and is now
--   locks  the writer's turn
--   index  the primary keys of queue and job
update queue set fair = 1
where id = :queue and not fair and (:seqs is null or exists (
    select 1 from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
    where job.fair_key <> ''
))
