-- added_tied: of the jobs that an insert just added, those with parents, and those to be cancelled.
--   in     :first and :last, the rowids they have; :cancelled JSON, the seqs of cancelled groups
--   out    one JSON list of places: [seq, queue, lane, state, ties, 1 if it is to be cancelled]
--   locks  the writer's turn
--   index  the primary key of job
select cast(json_group_array(json_array(
    seq, queue, lane, state, ties, batch in (select value from json_each(:cancelled))
)) as blob)
from job
where seq between :first and :last
    and (follows is not null or batch in (select value from json_each(:cancelled)))
