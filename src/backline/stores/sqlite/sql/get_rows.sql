-- get_rows: jobs by row.
--   in     :seqs JSON, a list
--   out    a row a job: the columns of record
--   locks  none: a reader
--   index  the primary key of job
select record.* from json_each(:seqs) as wanted cross join record on record.seq = wanted.value
