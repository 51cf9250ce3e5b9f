-- waited: the jobs that sleep and of which one of these waits is over.
--   in     :waits JSON, a list: [job's id, name]
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  step_name and job_id, a look-up a wait
select cast(json_group_array(json_array(job.seq, job.queue, job.lane, job.state, job.ties)) as blob)
from json_each(:waits) as over
cross join step indexed by step_name
    on step.job = over.value ->> 0 and step.name = over.value ->> 1
cross join job on job.id = step.job
where step.waits = 0 and job.state = 'scheduled' and job.asleep
