-- remember_idempotency: let idempotency keys stand for what their jobs were answered.
--   in     :keys JSON, a list: [name, the id that was answered, fingerprint]; :until
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of idempotency_key
insert into idempotency_key (name, job, fingerprint, until)
select value ->> 0, value ->> 1, value ->> 2, :until from json_each(:keys) where true
on conflict (name) do update
set job = excluded.job, fingerprint = excluded.fingerprint, until = excluded.until
