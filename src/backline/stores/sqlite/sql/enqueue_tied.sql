-- enqueue_tied: the same as `enqueue`, for jobs of which some have parents, a group or a share.
--   in     :jobs JSON, a row a job: [id, task, queue, lane, state, rank, due, expires_at,
--          terms, unique_key, unique_until, headers, tags, start, length,
--          follow_ups, group's seq, 0 if it has parents, fair_key]; :payloads blob,
--          every payload one after the other, of which a job has `length` bytes from `start`
--          (1 is the first): SQLite never parses them; :now
--   out    nothing; the rows that were added have the last rowids
--   locks  the writer's turn
--   index  the unique one on job (id) and the primary key of purged, a look-up a job each
with new as materialized (select value from json_each(:jobs))
insert into job (
    id, task, queue, lane, state, rank, due, enqueued_at, expires_at,
    terms, unique_key, unique_until, headers, tags, payload,
    follow_ups, batch, follows, fair_key
)
select
    new.value ->> 0, new.value ->> 1, new.value ->> 2, new.value ->> 3, new.value ->> 4,
    new.value ->> 5, new.value ->> 6, :now, new.value ->> 7,
    new.value ->> 8, new.value ->> 9, new.value ->> 10, new.value ->> 11, new.value ->> 12,
    cast(substr(:payloads, new.value ->> 13, new.value ->> 14) as text),
    new.value ->> 15, new.value ->> 16, new.value ->> 17, new.value ->> 18
from new
where not exists (select 1 from purged where purged.id = new.value ->> 0)
on conflict (id) do nothing
