-- steps: the steps of jobs, in the order they were recorded.
--   in     :ids JSON, a list, each once
--   out    a row a step: [job's id, name, attempt, value, recorded_at, wake_at, topic, key,
--          waits, event, event_at], text as blobs
--   locks  none: a reader
--   index  step_name, the steps of a job; all are sorted
select cast(step.job as blob), cast(name as blob), attempt, cast(step.value as blob),
    recorded_at, wake_at,
    cast(step.topic as blob), cast(step.key as blob), waits, cast(event as blob), event_at
from json_each(:ids) as wanted cross join step indexed by step_name on step.job = wanted.value
order by nth
