-- awaiting: the jobs that sleep and wait for some events, each as often as it does.
--   in     :events JSON, a row an event: [name, key, ...]; :now
--   out    one JSON list of places: [seq, queue, lane, state, ties]
--   locks  the writer's turn
--   index  step_waits, a look-up an event; job_id, one a wait
select cast(json_group_array(json_array(job.seq, job.queue, job.lane, job.state, job.ties)) as blob)
from json_each(:events) as new
cross join step indexed by step_waits
    on step.waits = 1 and step.topic = new.value ->> 0 and step.key = new.value ->> 1
cross join job on job.id = step.job
where step.wake_at > :now and job.state = 'scheduled' and job.asleep
