-- Gives up a dead letter: records it, marks it, releases its aggregate and lowers its lane's low-water mark below it, so
-- that what it held back is read. Only a dead one: the relay may be sending any other.
-- Index: a scan of the few that are held back; outbox_bucket_id; the lanes. Lock: the lane first, as a relay does, then
-- the rows.
-- Repeat: finds nothing.
with lane as (
    select l.lane
    from outbox_lane l
    join outbox_parked p on p.bucket between l.first_bucket and l.last_bucket
    where p.event_id = $1::uuid and p.dead_at is not null
    for update of l
),
released as (
    delete from outbox_parked where event_id = $1::uuid and dead_at is not null and exists (select from lane)
    returning *
),
recorded as (
    insert into outbox_discarded (event, event_id, aggregate_type, aggregate_id, event_type, sequence, attempts, last_error,
                                  reason, discarded_at)
    select event, event_id, aggregate_type, aggregate_id, event_type, sequence, attempts, last_error, $2,
           to_timestamp($3 / 1000.0)
    from released
),
lowered as (
    update outbox_lane l
    set mark = least(l.mark, r.event - 1), mark_day = least(l.mark_day, r.day), read_to = least(l.read_to, r.event - 1)
    from released r
    where r.bucket between l.first_bucket and l.last_bucket
),
marked as (
    update outbox o set published_at = clock_timestamp()
    from released r
    where o.bucket = r.bucket and o.id = r.event and o.day = r.day and o.published_at is null
)
select event from released
