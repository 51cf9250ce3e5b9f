-- places: where jobs are.
--   in     :ids JSON, a list
--   out    one JSON list in the order given: [seq or 0, queue, lane, state, ties]
--   locks  the writer's turn
--   index  job_id, a look-up an id
select cast(json_group_array(json_array(
    coalesce(seq, 0), coalesce(queue, 0), coalesce(lane, 'main'), iif(
        state in (select value from json_each(
            '["waiting","scheduled","ready","running","succeeded","cancelled","expired"]'
        )), state, 'dead'
    ),
    coalesce(ties, 0)
)) as blob)
from json_each(:ids) as wanted left join job on job.id = wanted.value
