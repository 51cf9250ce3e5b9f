-- find_oldest: the jobs of a filter between two ids, oldest id first.
--   in     :after, an id to begin beyond; :bound, the last id to look at;
--          :queue id, :states JSON list, :task, :tag: null for any; :limit
--   out    a row a job: the columns of record
--   locks  none: a reader
--   index  job_id, in its order: no sort; the caller bounds how far it reads
select record.* from job as mine cross join record on record.seq = mine.seq
where mine.id > :after and mine.id <= :bound
    and (:queue is null or mine.queue = :queue)
    and (:states is null or mine.state in (select value from json_each(:states)))
    and (:task is null or mine.task = :task)
    and (:tag is null or :tag in (
        select tag.value from json_each(iif(json_valid(mine.tags), mine.tags, '[]')) as tag
    ))
order by mine.id asc
limit :limit
