-- acked: what each ack meets.
--   in     :acks JSON, a list: [id, attempt, 1 if only when overdue]; :worker; :tick
--   out    one JSON list in the order given: [seq, queue, lane, cancel, ties], where seq
--          is -1 if this worker had recorded that attempt, -2 if the lease is not held
--   locks  the writer's turn
--   index  job_id, a look-up an ack
with ack as materialized (select value from json_each(:acks))
select cast('[' || group_concat(
    case
        when job.seq is null then iif(exists (
            select 1 from purged
            where purged.id = ack.value ->> 0 and purged.attempt = ack.value ->> 1
                and purged.worker = :worker
        ), '[-1,0,"main",false,0]', '[-2,0,"main",false,0]')
        when job.attempt <> ack.value ->> 1 then '[-2,0,"main",false,0]'
        when job.state <> 'running' then iif(
            job.worker = :worker, '[-1,0,"main",false,0]', '[-2,0,"main",false,0]'
        )
        when ack.value ->> 2 and job.until > :tick then '[-2,0,"main",false,0]'
        else '[' || job.seq || ',' || job.queue || ',"' || job.lane || '",'
            || iif(job.cancel, 'true', 'false') || ','
            || job.ties || ']'
    end
) || ']' as blob)
from ack left join job on job.id = ack.value ->> 0
