-- resume_flows: flows in which a job lives again are not cancelled any more.
--   in     :ids JSON, groups of theirs
--   out    nothing
--   locks  the writer's turn
--   index  the unique one on job_group (id); job_group_flow
update job_group set cancelled = 0
where cancelled and flow in (
    select mine.flow
    from json_each(:ids) as wanted cross join job_group as mine on mine.id = wanted.value
)
