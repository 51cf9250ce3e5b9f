-- get_small: jobs by row, without what may be large: their arguments, results,
-- errors and follow-ups.
--   in     :seqs JSON, a list; :errors 1 if the errors are needed all the same
--   out    a row a job: the columns of record, empty where something is left out
--   locks  none: a reader
--   index  the primary key of job
select
    record.id, record.state, record.queue, record.lane, record.priority, record.due,
    record.attempt, record.failures, record.losses, record.releases, record.cancel,
    record.enqueued_at, record.started_at, record.finished_at, record.expires_at,
    record.purge_at, record.worker, record.task, record.unique_key, record.terms,
    record.headers, record.tags, cast('[[],{}]' as blob), record.progress,
    iif(:errors, record.errors, cast('[]' as blob)), null, record.limits,
    record.steps, record.asleep, null, record.redrives, record.fair_key,
    record.parents, record.children, record.flow
from json_each(:seqs) as wanted cross join record on record.seq = wanted.value
