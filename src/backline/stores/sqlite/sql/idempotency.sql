-- idempotency: what is remembered of idempotency keys.
--   in     :names JSON, a list; :now
--   out    one JSON list: [name, the id that was answered, fingerprint]
--   locks  none
--   index  the primary key of idempotency_key
select cast(json_group_array(json_array(key.name, key.job, key.fingerprint)) as blob)
from json_each(:names) as wanted cross join idempotency_key as key on key.name = wanted.value
where key.until > :now
