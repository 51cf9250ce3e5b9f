-- find_newest: the jobs of a filter between two ids, newest id first.
--   in     :after, an id to begin beyond; :bound, the last id to look at; :queue id, :states
--          JSON list, :task, :tag, :rank, :from and :before, times of enqueue, :error, the
--          kind of the newest or its last part: null for any; :limit
--   out    one JSON list: [id, seq]
--   locks  none: a reader
--   index  job_id, in its order: no sort; the caller bounds how far it reads
select cast(json_group_array(json_array(id, seq)) as blob) from (
    select id, seq from job as mine
    where mine.id < :after and mine.id >= :bound
        and (:queue is null or mine.queue = :queue)
        and (:states is null or mine.state in (select value from json_each(:states)))
        and (:task is null or mine.task = :task)
        and (:rank is null or mine.rank = :rank)
        and (:from is null or mine.enqueued_at >= :from)
        and (:before is null or mine.enqueued_at < :before)
        and (:tag is null or :tag in (
            select tag.value from json_each(iif(json_valid(mine.tags), mine.tags, '[]')) as tag
        ))
        and (:error is null
            or substr('.' || (iif(json_valid(mine.errors), mine.errors, '[]') ->> '$[#-1].kind'),
                -length(:error) - 1) = '.' || :error)
    order by mine.id desc
    limit :limit
)
