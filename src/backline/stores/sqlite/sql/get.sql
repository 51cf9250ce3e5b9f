-- get: jobs by id.
--   in     :ids JSON, a list
--   out    a row a job that there is: the columns of record
--   locks  none: a reader
--   index  job_id, a look-up an id
select record.* from json_each(:ids) as wanted
cross join job as mine on mine.id = wanted.value
cross join record on record.seq = mine.seq
