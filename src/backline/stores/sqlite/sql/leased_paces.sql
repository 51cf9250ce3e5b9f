-- leased_paces: the weight of the jobs that a call leased, by their pace.
--   in     :worker; :call
--   out    one JSON list: [pace, weight]
--   locks  the writer's turn
--   index  job_held; the jobs of the call are grouped
select json_group_array(json_array(pace, weight))
from (
    select pace,
        cast(total(min(max(coalesce(weight, 1), 1), 10000)) as integer) as weight
    from job indexed by job_held
    where state = 'running' and worker = :worker and call = :call and permit = 1
        and pace is not null
    group by pace
)
