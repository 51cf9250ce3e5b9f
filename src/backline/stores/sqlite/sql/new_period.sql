-- new_period: forget the finish tags of levels at which a busy period begins.
--   in     :levels JSON, a list: [queue, lane, rank]
--   out    nothing
--   locks  the writer's turn
--   index  the unique index on share (queue, lane, rank, fair_key)
delete from share
where id in (
    select share.id
    from json_each(:levels) as level
    cross join share on share.queue = level.value ->> 0 and share.lane = level.value ->> 1
        and share.rank = level.value ->> 2
)
