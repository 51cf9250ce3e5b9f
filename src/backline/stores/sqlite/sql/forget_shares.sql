-- forget_shares: take out finish tags that the present turn has passed, of those that follow one.
--   in     :after; :last; :first and :farthest that a turn is
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of share; job_ready, one entry a share
delete from share
where id > :after and id <= :last and finish <= coalesce((
    select position from job indexed by job_ready
    where job.state = 'ready' and job.queue = share.queue and job.lane = share.lane
        and job.rank = share.rank and job.position between :first and :farthest
    order by job.position limit 1
), finish)
