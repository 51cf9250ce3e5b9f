-- at_pace: the first jobs that wait for a permit of a pace.
--   in     :pace id; :most
--   out    one JSON list in no order: [rank, due, seq, queue, lane, weight, ties]
--   locks  the writer's turn
--   index  job_pace, in its order, at most :most entries
select cast(json_group_array(json_array(
    job.rank, job.due, job.seq, job.queue, job.lane,
    min(max(coalesce(job.weight, 1), 1), 10000), job.ties
)) as blob)
from job where seq in (
    select seq from job as mine indexed by job_pace
    where mine.pace is not null and mine.pace = :pace and mine.permit = 0
    order by mine.rank, mine.due, mine.seq
    limit :most
)
