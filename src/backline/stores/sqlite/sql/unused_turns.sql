-- unused_turns: how many jobs of each tenant have turns, of some that were ready.
--   in     :seqs JSON, the jobs; :first that a turn is
--   out    a row a share: queue, lane, rank, fair_key as a blob, count
--   locks  the writer's turn
--   index  the primary key of job; the jobs are sorted
select job.queue, job.lane, job.rank, cast(job.fair_key as blob), count(*)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
where job.turn >= :first and job.fair_key is not null
group by job.queue, job.lane, job.rank, job.fair_key
