-- dead_newest: dead jobs that follow an id, newest id first.
--   in     :after, an id to begin beyond; :queue id, null for any; :limit
--   out    one JSON list: [id, seq]
--   locks  none: a reader
--   index  job_dead, in its order: no sort; dead jobs of other queues are read over
select cast(json_group_array(json_array(id, seq)) as blob) from (
    select id, seq from job indexed by job_dead
    where state = 'dead' and id < :after and (:queue is null or queue = :queue)
    order by id desc
    limit :limit
)
