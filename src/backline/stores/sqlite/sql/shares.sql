-- shares: the last turns of some tenants.
--   in     :shares JSON, a list: [queue, lane, rank, fair_key, the latest that it can be: what is
--          beyond is damage]; :put_back JSON, jobs that are no part of it yet; :first, the first
--          that a turn is
--   out    one JSON list in the order given: the last turn or null
--   locks  the writer's turn
--   index  job_turn, one entry a share and one a job put back
select cast(json_group_array((
    select turn from job indexed by job_turn
    where job.state = 'ready' and job.turn is not null and job.queue = value ->> 0
        and job.lane = value ->> 1 and job.rank = value ->> 2 and job.fair_key = value ->> 3
        and job.turn between :first and value ->> 4
        and job.seq not in (select value from json_each(:put_back))
    order by job.turn desc limit 1
)) as blob)
from json_each(:shares)
