-- One commit of a lane: starts, and rows of sagas that are known.
-- Fence: the lane's row under FOR SHARE, held to the end of the statement, so that an epoch is bumped before it or after
-- it; a statement that waited for a bump meets the new epoch and writes nothing. (EXISTS would trust its snapshot; FOR KEY
-- SHARE does not conflict with the bump.)
-- A start is decided by `saga_id`, in the order of the ids, so that two lanes with the same starts wait in one direction. A
-- known saga is decided by the lock of its row (index saga_no; as a range, so that no plan can join over the whole table):
-- in this lane, or at rest and not written by anybody since. Its journal row must be the next one: otherwise `seq` is null
-- and the whole statement fails, as it does on the journal's primary key. A repeat writes nothing twice for that reason.
with
fence as materialized (
    select l.id from lane l where l.id = $1 and l.epoch = $2 for share
),
fresh as materialized (
    select nextval('saga_number') as no, r.*
    from fence, unnest(
        $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[],
        $13::bigint[], $14::text[], $15::text[], $16::boolean[], $17::boolean[], $18::bigint[], $19::bigint[], $20::text[],
        $21::text[]
    ) with ordinality as r (
        id, definition, version, business_key, principal, started_at, input, context, wrapped,
        lane, entries, status, held, overdue, wake_at, ended_at, cause,
        event, place
    )
),
started as (
    insert into saga (
        no, started_at, wake_at, ended_at, lane, version, seq, id, held, overdue, parked, status, definition, principal,
        business_key, cause
    )
    select
        f.no, f.started_at, f.wake_at, f.ended_at, f.lane, f.version, 1, f.id::uuid, f.held, f.overdue, f.status = 'failed',
        f.status, f.definition, f.principal, f.business_key, f.cause
    from fresh f
    order by f.id
    on conflict (id) do nothing
    returning no
),
begun as materialized (
    select f.* from started s join fresh f on f.no = s.no
),
folded as (
    update saga s
    set seq = s.seq + 1, status = r.status, parked = r.status = 'failed', held = r.held, overdue = r.overdue,
        wake_at = r.wake_at, ended_at = r.ended_at, cause = r.cause, lane = r.lane
    from fence, unnest(
        $22::bigint[], $23::integer[], $24::integer[], $25::bigint[], $26::text[], $27::text[], $28::boolean[],
        $29::boolean[], $30::bigint[], $31::bigint[], $32::text[], $33::text[]
    ) as r (no, day, seq, lane, entries, status, held, overdue, wake_at, ended_at, cause, event)
    where s.no between r.no and r.no and (s.lane = $1 or (s.lane is null and s.seq = r.seq - 1))
    returning s.no, r.day, case when s.seq = r.seq then r.seq end as seq, r.entries, r.event
),
journalled as (
    insert into saga_journal (day, saga_no, seq, epoch, at, entries)
    select j.day, j.no, j.seq, $2, $3, j.entries
    from (
        select (b.started_at / 86400000)::integer as day, b.no, 1 as seq, b.entries from begun b
        union all
        select f.day, f.no, f.seq, f.entries from folded f
    ) j
    order by j.no
),
paid as (
    insert into saga_payload (saga_no, input, context) select b.no, b.input, b.context from begun b order by b.no
),
sealed as (
    insert into saga_key (saga_no, wrapped) select b.no, b.wrapped from begun b where b.wrapped is not null
),
told as materialized (
    select saga_tell(jsonb_agg(e.event::jsonb order by e.no)) as events
    from (
        select b.no, b.event from begun b where b.event is not null
        union all
        select f.no, f.event from folded f where f.event is not null
    ) e
    having count(*) > 0
)
select
    exists (select from fence) as fenced,
    (select array_agg(b.place order by b.no) from begun b) as places,
    (select array_agg(b.no order by b.no) from begun b) as numbers,
    (select array_agg(f.no) from folded f) as written,
    (select sum(t.events) from told t) as events
