-- places_taken: the slots and permits that some jobs have.
--   in     :seqs JSON, the jobs
--   out    one row: a JSON list of gates, one for each slot; a JSON list of paces, each once
--   locks  the writer's turn
--   index  the primary key of job; the paces are grouped
select json_group_array(job.gate) filter (where job.gate is not null and job.slot > 0),
    json_group_array(distinct job.pace) filter (where job.pace is not null)
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
