-- places_taken: the gates and paces at which some jobs are.
--   in     :seqs JSON, the jobs
--   out    one row: a JSON list of gates, and one of paces
--   locks  the writer's turn
--   index  the primary key of job; what is found is grouped
select coalesce(json_group_array(distinct job.gate) filter (where job.gate is not null), '[]'),
    coalesce(json_group_array(distinct job.pace) filter (where job.pace is not null), '[]')
from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
