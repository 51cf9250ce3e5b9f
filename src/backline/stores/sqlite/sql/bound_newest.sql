-- bound_newest: the id at which a stretch of so many jobs ends, newest id first.
--   in     :after, an id to begin beyond; :stretch, how many
--   out    an id, or no row: there are fewer
--   locks  none: a reader
--   index  job_id alone, in its order
select cast(id as blob) from job where id < :after order by id desc limit 1 offset :stretch - 1
