-- flow_newest: the jobs of a flow that follow an id, newest id first.
--   in     :flow; :after, an id to begin beyond; :limit
--   out    one JSON list: [id, seq]
--   locks  none: a reader
--   index  job_group_flow; job_flow, in its order, for so many of each group, which this sorts
select cast(json_group_array(json_array(id, seq)) as blob) from (
    select mine.id, mine.seq
    from job_group indexed by job_group_flow cross join job as mine on mine.seq in (
        select near.seq from job as near indexed by job_flow
        where near.batch is not null and near.batch = job_group.seq and near.id < :after
        order by near.id desc
        limit :limit
    )
    where job_group.flow = :flow
    order by mine.id desc
    limit :limit
)
