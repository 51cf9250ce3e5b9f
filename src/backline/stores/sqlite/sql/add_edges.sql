-- add_edges: let jobs that were just added wait for their parents.
--   in     :edges JSON, a list: [child's id, place, parent's id, needs, wanted, null or
--          the id of the parent asked for, if that is another]; :first, the
--          rowid of the first job that was added: older children are repeats, and
--          so is one that comes twice
--   out    nothing
--   locks  the writer's turn
--   index  job_id; the unique one on job_group (id); the primary key of purged
insert into edge (child, place, parent, needs, wanted, ended, result, asked)
select
    child.seq, edge.value ->> 1, edge.value ->> 2, edge.value ->> 3, edge.value ->> 4,
    case
        when parent.seq is not null then iif(parent.purge_at is null, null, parent.state)
        when job_group.seq is null then coalesce((
            select purged.state from purged where purged.id = edge.value ->> 2
        ), 'cancelled')
        when job_group.failed > 0
            and (edge.value ->> 3 = 'success' or job_group.ended >= job_group.added) then 'dead'
        when job_group.ended >= job_group.added then 'succeeded'
    end,
    iif(edge.value ->> 4 and parent.state = 'succeeded', parent.result, null),
    edge.value ->> 5
from json_each(:edges) as edge
cross join job as child on child.id = edge.value ->> 0
left join job as parent on parent.id = edge.value ->> 2
left join job_group on job_group.id = edge.value ->> 2
where child.seq >= :first
on conflict (child, place) do nothing
