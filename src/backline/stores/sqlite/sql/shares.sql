-- shares: the present turns of levels, and the last ones of some tenants there.
--   in     :shares JSON, a list: [queue, lane, rank, fair_key]; :put_back JSON, jobs that are
--          no part of it yet; :first and :farthest that a turn is, :ahead, by how much the last
--          one is later than the present one at most: what is beyond is damage
--   out    one JSON list in the order given: [present turn or null, last one or null]
--   locks  the writer's turn
--   index  job_ready and job_turn, one entry of each a share
with share (queue, lane, rank, fair_key, head) as materialized (
    select value ->> 0, value ->> 1, value ->> 2, value ->> 3, (
        select position from job indexed by job_ready
        where job.state = 'ready' and job.queue = value ->> 0 and job.lane = value ->> 1
            and job.rank = value ->> 2 and job.position between :first and :farthest
            and job.seq not in (select value from json_each(:put_back))
        order by job.position limit 1
    )
    from json_each(:shares)
)
select cast(json_group_array(json_array(head, (
    select turn from job indexed by job_turn
    where job.state = 'ready' and job.turn is not null and job.queue = share.queue
        and job.lane = share.lane and job.rank = share.rank and job.fair_key = share.fair_key
        and job.turn between :first and coalesce(head, :first) + :ahead
        and job.seq not in (select value from json_each(:put_back))
    order by job.turn desc limit 1
))) as blob)
from share
