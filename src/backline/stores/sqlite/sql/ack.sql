-- ack: record how runs ended, in full.
--   in     :acks JSON, a list: [seq, state, due or null, purge_at or null, + failures,
--          + losses, + releases, lane or null, start and length of the result in the blob
--          :results (0 and 0: none), error or null, 1 if asleep]; losses -1: none any more;
--          :worker; :now; :errors, how many of a job's are kept;
--          :put_back, in the place of its turn
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of job
-- A damaged count stays at the largest integer: an overflow would stop every other ack.
with ack as materialized (select value from json_each(:acks))
update job
set state = ack.value ->> 1,
    due = coalesce(ack.value ->> 2, due),
    purge_at = ack.value ->> 3,
    finished_at = iif(ack.value ->> 3 is null, null, :now),
    failures = min(failures, 0x7ffffffffffffffe) + (ack.value ->> 4),
    losses = iif(
        ack.value ->> 5 < 0, 0, min(losses, 0x7ffffffffffffffe) + (ack.value ->> 5)
    ),
    releases = min(releases, 0x7ffffffffffffffe) + (ack.value ->> 6),
    lane = coalesce(ack.value ->> 7, iif(lane in ('main', 'cell'), lane, 'main')),
    result = iif(
        ack.value ->> 8,
        cast(substr(:results, ack.value ->> 8, ack.value ->> 9) as text),
        result
    ),
    errors = case
        when ack.value ->> 10 is null then errors
        when not json_valid(errors) or json_type(errors) <> 'array' then json_array(json(ack.value -> 10))
        when json_array_length(errors) < :errors
            then json_insert(errors, '$[#]', json(ack.value -> 10))
        else json_insert(json_remove(errors, '$[0]'), '$[#]', json(ack.value -> 10))
    end,
    asleep = ack.value ->> 11,
    turn = iif(ack.value ->> 1 in ('ready', 'waiting') and turn is not null, :put_back, null),
    worker = :worker, call = null, until = null
from ack
where job.seq = ack.value ->> 0
