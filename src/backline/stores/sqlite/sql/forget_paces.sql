-- forget_paces: take out paces at which nobody is and which let a full burst start.
--   in     :after; :last; :tick
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of pace, job_pace
delete from pace
where id > :after and id <= :last and arrival <= :tick and not exists (
    select 1 from job indexed by job_pace where job.pace is not null and job.pace = pace.id
)
