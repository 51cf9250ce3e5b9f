-- running: which of these attempts run now.
--   in     :attempts JSON, a list: [id, attempt]
--   out    one JSON list in the order given: its seq, or 0
--   locks  the writer's turn
--   index  job_id, a look-up an attempt
select json_group_array(coalesce(job.seq, 0))
from json_each(:attempts) as token
left join job on job.id = token.value ->> 0
    and job.attempt = token.value ->> 1 and job.state = 'running'
