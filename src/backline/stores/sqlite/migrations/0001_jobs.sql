-- 0001: jobs, their queues and keys, and what the store must remember of workers.
--
-- One table of jobs, changed in place: an index entry exists only while the job is in the
-- state that index serves, so a finished job costs one entry by id and one by age, and the
-- hot path never passes it. Times are microseconds: wall times since 1970 (UTC), but `until`
-- and every `tick` on the boot clock. JSON is text that SQL passes through unread.

create table meta (
    name text primary key,
    value text not null
) strict, without rowid;

create table queue (
    id integer primary key,
    name text not null unique,
    paused integer not null default 0,
    max_depth integer,
    concurrency integer,              -- at most so many of its jobs run at a time
    interval integer,                 -- at most one start in so long, beyond `burst` at once
    burst integer,
    arrival integer not null default 0, -- the tick that its starts have used up
    fair integer not null default 0,  -- 1: it had a job with a fair key
    weights text not null default '{}', -- of fair keys, as JSON
    ageing integer,                   -- so much longer has a job waited for each priority
    declared text                     -- the settings last declared in code, as JSON
) strict;

create table job (
    seq integer primary key,          -- order of enqueue
    id text not null,
    queue integer not null references queue (id),
    lane text not null check (lane in ('main', 'cell')),
    -- No `in`, which looks each state up in a table, and in the order of how often it is looked at.
    state text not null check (
        state = 'running' or state = 'succeeded' or state = 'ready' or state = 'scheduled'
        or state = 'waiting' or state = 'dead' or state = 'cancelled' or state = 'expired'
    ),
    rank integer not null,            -- minus the priority: the smaller the sooner
    due integer not null,
    attempt integer not null default 0,
    failures integer not null default 0,
    losses integer not null default 0,
    releases integer not null default 0,
    redrives integer not null default 0,
    cancel integer not null default 0,
    enqueued_at integer not null,
    started_at integer,
    finished_at integer,
    expires_at integer,
    purge_at integer,                 -- set when, and only when, the job is over
    until integer,                    -- the tick at which the lease is over
    call integer,                     -- the worker's call that leased it
    worker text,
    task text not null,
    unique_key text,
    unique_until integer not null default 0, -- the key stays taken until then at least
    terms text not null,
    headers text not null,
    tags text not null,
    progress text,
    errors text not null default '[]',
    limits text,                      -- what its key is limited to, as JSON
    gate integer,                     -- it is due, and counts at this row of gate
    slot integer,                     -- 0: it waits there, 1: it is one of those that may run,
                                      -- 2: it keeps its slot until it may run again
    pace integer,                     -- it may not start before this row of pace lets it
    permit integer,                   -- 0: it waits there, 1: it may start now
    weight integer,                   -- as how many starts its own counts
    steps integer not null default 0, -- how many are recorded
    asleep integer not null default 0, -- 1: scheduled, and not in the depth: it sleeps
    batch integer,                    -- the group it counts in
    follows integer,                  -- null: it has no parents; 1: cancelled because of one
    followed integer,                 -- null: it is no parent
    fair_key text,                    -- null: its queue is not fair, or was not; '': it has none
    turn integer,                     -- of one that is ready or runs, or was put back and waits
    follow_ups text,                  -- what its end enqueues, as JSON; large ones last: who
    payload text not null,            -- reads what is before passes none
    result text,
    position integer generated always as (coalesce(turn, due)) virtual,
    -- What its moves may concern: 1 unique_key, 2 gate and pace, 4 step, 8 the count of those
    -- asleep, 16 follow_ups, 32 edge as a parent, 64 job_group, 128 edge as a child, 256 turn.
    ties integer generated always as (
        (unique_key is not null) + 2 * (limits is not null) + iif(steps, 4, 0) + iif(asleep, 8, 0)
        + 16 * (follow_ups is not null)
        + 32 * (followed is not null) + 64 * (batch is not null) + 128 * (follows is not null)
        + 256 * (fair_key is not null)
    ) virtual
) strict;

create unique index job_id on job (id);
create index job_ready on job (queue, lane, rank, position) where state = 'ready';
create index job_scheduled on job (queue, due) where state = 'scheduled';
create index job_waiting on job (queue) where state = 'waiting';
create index job_held on job (worker, call, rank, position) where state = 'running';
create index job_until on job (until) where state = 'running';
create index job_expiry on job (expires_at)
    where expires_at is not null and attempt = 0 and purge_at is null;
create index job_gate on job (gate, slot, rank, due) where slot <> 1;
create index job_pace on job (pace, permit, rank, due) where pace is not null;
create index job_dead on job (id) where state = 'dead';
create index job_batch on job (batch) where batch is not null and purge_at is null;
create index job_flow on job (batch, id) where batch is not null;
create index job_over on job (queue, state, purge_at) where purge_at is not null;

-- Where the turns of a tenant go on, while any job of its level is ready.
create table share (
    id integer primary key,
    queue integer not null,
    lane text not null,
    rank integer not null,
    fair_key text not null,
    finish integer not null,          -- the finish tag of the last turn that it was given
    unique (queue, lane, rank, fair_key)
) strict;

-- What a job has done and must not do again. By the job's id, not its seq, which is given anew
-- after a purge: a row that damage has left behind must not be taken for another job's.
create table step (
    nth integer primary key,          -- order of recording
    job text not null,
    name text not null,
    attempt integer not null,
    value text,                       -- what it returned, as JSON; null: None
    recorded_at integer not null,
    wake_at integer,                  -- of a sleep, and of a wait that no event ends
    topic text,                       -- of a wait: the name and the key of the event; the value
    key text,                         -- is its payload then
    waits integer,                    -- of a wait: 1: it is not over, 0: it is
    event text,                       -- the id of the event that ended it; null: none has
    event_at integer
) strict;
create unique index step_name on step (job, name);
create index step_waits on step (topic, key) where waits = 1;

-- How many jobs each queue has by state and lane; in place of a state also 'purged', all
-- that ever were, and 'asleep', those of the scheduled ones that do not count in the depth.
-- Moved once a call, in the commit of the moves: nothing is ever counted.
create table tally (
    queue integer not null,
    kind text not null,
    lane text not null,
    n integer not null,
    primary key (queue, kind, lane)
) strict, without rowid;

-- How many jobs of a queue ended, and how many arrived, in each second of the last minute.
create table traffic (
    queue integer not null,
    second integer not null,
    ended integer not null,
    arrived integer not null,
    primary key (queue, second)
) strict, without rowid;

-- Who holds a unique key: a job that lives, or any job until `until`. Nothing is written here
-- when the holder ends: who wants the key looks. While `predecessor` lives, the holder waits
-- for its end. `since` is what `max_wait` counts from: when the first of the holders was added
-- of which each took the place of the last, and none had started.
create table unique_key (
    name text primary key,
    holder text not null,
    until integer not null,
    orphan integer not null default 0, -- the holder is purged
    predecessor integer,
    since integer not null default 0
) strict, without rowid;
create index unique_key_orphan on unique_key (until) where orphan = 1;
create index unique_key_predecessor on unique_key (predecessor) where predecessor is not null;

-- What was answered to the job that an idempotency key first came with.
create table idempotency_key (
    name text primary key,
    job text not null,                -- the id that was answered
    fingerprint text not null,        -- of what the job was to do
    until integer not null
) strict, without rowid;
create index idempotency_key_until on idempotency_key (until);

-- How many jobs of a key may run at a time, and how many have a slot: moved in the commit that
-- moves them, and compared with them now and then. An id is never given again: what damage left
-- behind must not be taken for another key's.
create table gate (
    id integer primary key autoincrement,
    queue integer not null,
    key text not null,
    slots integer not null,
    blocks integer not null,          -- a dead job keeps its slot
    taken integer not null default 0, -- this many jobs have a slot
    unique (queue, key)
) strict;

-- How often jobs of a key may start: one each `interval`, beyond `burst` at once. Its ready jobs
-- have permits, never more than may start now.
create table pace (
    id integer primary key,
    queue integer not null,
    key text not null,
    interval integer not null,
    burst integer not null,
    arrival integer not null default 0, -- the tick that its starts have used up
    next integer,                     -- the tick from which on the first that waits may start
    unique (queue, key)
) strict;
create index pace_next on pace (queue, next) where next is not null;

-- A job waits for the end of its parent, which is a job or a group. It stays as long as the
-- child, since a parent may be redriven, and its result is here when it is purged.
create table edge (
    child integer not null,           -- the job's seq
    place integer not null,           -- among its parents
    parent text not null,
    needs text not null,              -- the end that lets the child go on: `parents.On`
    wanted integer not null,          -- whether the child gets the result
    ended text,                       -- the state the parent ended in; null: it has not
    result text,
    asked text,                       -- the parent asked for, if who has its key stands in
    primary key (child, place)
) strict, without rowid;
create index edge_parent on edge (parent);
create index edge_open on edge (child) where ended is null;

-- Jobs that are counted together; those of one flow are cancelled together. It has ended when
-- all that were added have.
create table job_group (
    seq integer primary key,
    id text not null unique,
    flow text not null,
    added integer not null default 0,
    ended integer not null default 0,
    failed integer not null default 0, -- of those that ended
    purged integer not null default 0,
    cancelled integer not null default 0,
    followed integer not null default 0, -- edges name it as a parent
    touched integer not null          -- when a count was last moved
) strict;
create index job_group_flow on job_group (flow);
create index job_group_idle on job_group (touched) where purged >= added;

-- What is left of a purged job, so that a late repeat of a call changes nothing.
create table purged (
    id text primary key,
    attempt integer not null,
    worker text,
    state text not null,              -- how it ended
    forget_at integer not null
) strict, without rowid;
create index purged_forget on purged (forget_at);

create table worker (
    name text primary key,
    call integer,                     -- the last call that leased jobs
    retired integer not null default 0,
    seen integer not null             -- the tick of that call
) strict, without rowid;

create table report (
    worker text primary key,
    forget_tick integer not null,
    body text not null
) strict, without rowid;

-- When jobs are made by themselves. `version` is another one with each change, also under the
-- same name after a delete (`meta` has the last one given); a tick leaves it as it is.
create table schedule (
    id integer primary key,
    name text not null unique,
    version integer not null,
    paused integer not null default 0,
    last integer not null,            -- every slot up to it is dealt with
    ran integer,                      -- the newest slot that made a job
    next integer,                     -- the slot that is to come; null: none is, or it is paused
    spec text not null,               -- when and what, as JSON
    declared text                     -- what of it was last declared in code, as JSON
) strict;
create index schedule_next on schedule (next) where next is not null;

-- Whose jobs events add. `version` as in schedule, from a count of its own.
create table subscription (
    id integer primary key,
    name text not null unique,
    version integer not null,
    spec text not null                -- patterns, and what an event adds, as JSON
) strict;

-- What the subscriptions listen to: names of events are looked up, patterns read one and all.
create table topic (
    pattern text not null,
    subscription integer not null,
    exact integer not null,           -- it is a name, and matches it alone
    primary key (pattern, subscription)
) strict, without rowid;
create index topic_subscription on topic (subscription);
create index topic_wild on topic (pattern) where exact = 0;

-- Events that were published, so that a repeat adds nothing. The first one of a (name, key) has
-- its key and its payload here, for those that come to wait for it; the others have none.
create table event (
    id text primary key,
    name text not null,
    key text,
    payload text,
    at integer not null,
    until integer not null,           -- forgotten from then on
    jobs text not null                -- the ids of its jobs by subscription, as JSON
) strict;
create unique index event_key on event (name, key) where key is not null;
create index event_until on event (until);

-- For people with a SQLite shell, and for `get` and `find`: text is bytes, so that it can be
-- read whatever somebody wrote there. Which job is meant is said by `seq`.
create view record as
select
    cast(job.id as blob) as id, cast(job.state as blob) as state,
    cast(queue.name as blob) as queue, cast(job.lane as blob) as lane, -job.rank as priority,
    job.due, job.attempt, job.failures, job.losses, job.releases, job.cancel,
    job.enqueued_at, job.started_at, job.finished_at, job.expires_at, job.purge_at,
    cast(job.worker as blob) as worker, cast(job.task as blob) as task,
    cast(job.unique_key as blob) as unique_key,
    cast(job.terms as blob) as terms, cast(job.headers as blob) as headers,
    cast(job.tags as blob) as tags, cast(job.payload as blob) as payload,
    cast(job.progress as blob) as progress, cast(job.errors as blob) as errors,
    cast(job.result as blob) as result, cast(job.limits as blob) as limits,
    job.steps, job.asleep,
    cast(job.follow_ups as blob) as follow_ups, job.redrives,
    cast(nullif(job.fair_key, '') as blob) as fair_key,
    iif(job.follows is null, null, (
        select cast(json_group_array(json_array(edge.parent, edge.needs, edge.ended)) as blob)
        from edge where edge.child = job.seq
    )) as parents,
    iif(job.followed is null, null, (
        select cast(json_group_array(counted.id) as blob) from (
            select mine.id
            from edge indexed by edge_parent cross join job as mine on mine.seq = edge.child
            where edge.parent = job.id limit 100
        ) as counted
    )) as children,
    iif(job.batch is null, null, (
        select cast(json_array(job_group.flow, job_group.id) as blob)
        from job_group where job_group.seq = job.batch
    )) as flow,
    job.seq, job.queue as queue_id
from job left join queue on queue.id = job.queue;
