-- find_oldest: the jobs of a filter between two ids, oldest id first.
--   in     :after, an id to begin beyond; :bound, the last id to look at;
--          :queue id, :states JSON list, :task, :tag: null for any; :limit
--   out    a row a job: the columns of record
--   locks  none: a reader
--   index  job_id, in its order: no sort; the caller bounds how far it reads
select record.* from record
where record.id > :after and record.id <= :bound
    and (:queue is null or queue_id = :queue)
    and (:states is null or record.state in (select value from json_each(:states)))
    and (:task is null or task = cast(:task as blob))
    and (:tag is null or :tag in (
        select tag.value
        from json_each(iif(json_valid(cast(tags as text)), cast(tags as text), '[]')) as tag
    ))
order by record.id asc
limit :limit
