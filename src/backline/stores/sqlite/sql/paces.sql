-- paces: how often paces let a job start, and who is there.
--   in     :paces JSON, a list of ids
--   out    one JSON list: [id, interval, burst, arrival, next or null, weight of those with a permit, weight of
--          the first that waits or null]
--   locks  the writer's turn
--   index  the primary key of pace, job_pace
select json_group_array(json_array(pace.id, pace.interval, pace.burst, pace.arrival, pace.next, (
    select cast(total(min(max(coalesce(job.weight, 1), 1), 10000)) as integer) from job indexed by job_pace
    where job.pace is not null and job.pace = pace.id and job.permit = 1
), (
    select min(max(coalesce(job.weight, 1), 1), 10000) from job indexed by job_pace
    where job.pace is not null and job.pace = pace.id and job.permit = 0
    order by job.rank, job.due, job.seq limit 1
)))
from json_each(:paces) as wanted cross join pace on pace.id = wanted.value
