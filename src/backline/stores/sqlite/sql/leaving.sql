-- leaving: which of some jobs are to give up what they have, by their states. With one slot, one
--          that waits for a retry keeps it, and so does a dead one whose gate says so.
--   in     :seqs JSON, the jobs
--   out    one row: a JSON list of those that give it up, and one of those that keep it
--   locks  the writer's turn
--   index  the primary keys of job and gate
select json_group_array(seq) filter (where not keeps),
    json_group_array(seq) filter (where keeps)
from (
    select job.seq, case job.state
        when 'scheduled' then coalesce((select slots <= 1 from gate where id = job.gate), 0)
        when 'dead' then coalesce((select blocks from gate where id = job.gate), 0)
        else 0
    end as keeps
    from json_each(:seqs) as wanted cross join job on job.seq = wanted.value
    where job.gate is not null or job.pace is not null
)
