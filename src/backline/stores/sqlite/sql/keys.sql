-- keys: who holds unique keys.
--   in     :names JSON, a list; :now
--   out    one JSON list: [name, holder's id, its seq or 0, queue, lane, state, predecessor
--          or 0, taken, whether the holder has started, since, ties]
--   locks  the writer's turn
--   index  the primary key of unique_key, job_id
select cast(json_group_array(json_array(
    key.name, key.holder, coalesce(job.seq, 0), coalesce(job.queue, 0),
    coalesce(job.lane, 'main'), iif(
        job.state in (select value from json_each(
            '["waiting","scheduled","ready","running","succeeded","cancelled","expired"]'
        )), job.state, 'dead'
    ), coalesce(key.predecessor, 0),
    json(iif(
        (job.seq is not null and job.purge_at is null) or key.until > :now, 'true', 'false'
    )),
    json(iif(job.attempt > 0, 'true', 'false')), key.since, coalesce(job.ties, 0)
)) as blob)
from json_each(:names) as wanted
cross join unique_key as key on key.name = wanted.value
left join job on job.id = key.holder
