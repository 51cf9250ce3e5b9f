-- levels: the first turns of those that are ready at some levels, and the weights there.
--   in     :levels JSON, a list: [queue, lane, rank]; :first and :farthest that a turn is: what is
--          beyond is damage
--   out    a row a level, in the order given: turn or null, weights as a blob
--   locks  the writer's turn
--   index  job_ready, one entry a level; the primary key of queue
select (
    select position from job indexed by job_ready
    where job.state = 'ready' and job.queue = value ->> 0 and job.lane = value ->> 1
        and job.rank = value ->> 2 and job.position between :first and :farthest
    order by job.position limit 1
), (
    select cast(weights as blob) from queue where queue.id = value ->> 0
)
from json_each(:levels)
