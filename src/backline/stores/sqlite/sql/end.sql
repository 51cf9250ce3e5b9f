-- end: end jobs that were not running.
--   in     :seqs JSON, the jobs; :state; :now; :keep in case their terms cannot be read
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
update job
set state = :state, finished_at = :now,
    purge_at = :now + iif(
        json_valid(terms) and typeof(terms ->> 3) = 'integer'
        and terms ->> 3 between 0 and 0x3fffffffffffffff,
        terms ->> 3, :keep
    )
where seq in (select value from json_each(:seqs))
