-- turning: which of some jobs are ready, and shares of a fair queue.
--   in     :seqs JSON, the jobs
--   out    a row a job: queue, lane, rank, due, seq, fair_key, turn if it was put back, the
--          weights of the queue; texts as blobs
--   locks  the writer's turn
--   index  the primary keys of job and queue
select job.queue, job.lane, job.rank, job.due, job.seq, cast(job.fair_key as blob), job.turn, (
    select cast(weights as blob) from queue where queue.id = job.queue
)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
where job.state = 'ready' and job.fair_key is not null
