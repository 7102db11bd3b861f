-- A node's tick. Renews its leases (primary key of `lane_lease`; the row's lock decides against a taker) and its election,
-- then says what has happened: lanes that lapsed with something unsettled in them (a small table; index saga_lane for each),
-- commands (a small table; `saga_id` for each) for sagas of its lanes, where a saga at rest counts to the lane that it was in
-- when the command was sent, and one that is in no lane at all to everybody's; the queue up to a bound (index saga_lane).
-- Writes nothing where it has nothing to renew. A repeat renews again.
with
mine as materialized (
    select r.lane, r.epoch from unnest($1::bigint[], $2::bigint[]) as r (lane, epoch)
),
renewed as (
    update lane_lease l set until = clock_timestamp() + $4 * interval '1 millisecond'
    from mine m
    where $5 and l.lane = m.lane and l.epoch = m.epoch and not l.released
    returning l.lane
),
led as (
    update saga_leader l set node = $3, until = clock_timestamp() + $4 * interval '1 millisecond'
    where $6 and ((l.node = $3 and $5) or l.until <= clock_timestamp())
    returning l.one
)
select
    case
        when $5 then (select array_agg(r.lane order by r.lane) from renewed r)
        else (
            select array_agg(l.lane order by l.lane)
            from mine m join lane_lease l on l.lane = m.lane and l.epoch = m.epoch
            where not l.released
        )
    end as held,
    (
        select jsonb_agg(jsonb_build_array(
            l.lane, l.epoch, floor(extract(epoch from clock_timestamp() - l.until) * 1000)::bigint, l.released
        ) order by l.until)
        from (
            select l.* from lane_lease l
            where (l.released or l.until <= clock_timestamp())
                and l.lane not in (select m.lane from mine m)
                and exists (
                    select from saga s where s.lane = l.lane and s.status in ('pending', 'running', 'compensating')
                )
            order by l.until
            limit $7
        ) l
    )::text as lapsed,
    (
        select jsonb_agg(jsonb_build_array(c.no, c.saga, c.text) order by c.no)
        from (
            select c.* from saga_command c
            where c.answer is null
                and coalesce(
                    (select nullif(s.lane, 0) from saga s where s.id = c.saga),
                    nullif(c.lane, 0),
                    (select min(m.lane) from mine m)
                ) in (select m.lane from mine m)
            order by c.no
            limit $7
        ) c
    )::text as commands,
    (select count(*) from (select from saga s where s.lane = 0 order by s.no + 0 limit $8) q) as queued,
    (select count(*) from saga_definition) as definitions,
    $6 and (
        exists (select from led)
        or exists (select from saga_leader l where l.node = $3 and l.until > clock_timestamp())
    ) as leader
