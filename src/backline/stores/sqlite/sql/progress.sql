-- progress: record how far running jobs are.
--   in     :reports JSON, a list: [seq, a `Progress`]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job set progress = report.value ->> 1
from json_each(:reports) as report
where job.seq = report.value ->> 0
