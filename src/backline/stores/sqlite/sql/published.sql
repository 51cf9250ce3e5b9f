-- published: what became of events that are remembered.
--   in     :ids JSON, a list; :now
--   out    a row an event: its id and its jobs, as blobs
--   locks  none
--   index  the primary key of event
select cast(id as blob), cast(jobs as blob) from event
where id in (select value from json_each(:ids)) and until > :now
