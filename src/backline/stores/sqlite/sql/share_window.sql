-- share_window: which shares the next look for idle ones is at: those that follow the last look.
--   in     :limit
--   out    a row: beyond which id, up to which, 0 if there are none
--   locks  the writer's turn
--   index  the primary keys of share and meta
select seen, coalesce((
    select max(id) from (select id from share where id > seen order by id limit :limit)
), 0)
from (
    select coalesce((
        select cast(value as integer) from meta where name = 'shares_seen'
    ), 0) as seen
)
