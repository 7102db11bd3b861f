-- Extends the lease, moves the low-water mark and marks events as published, if the epoch is still ours: the arrays are
-- buckets, ids and days since 2000. See renew_lane.sql for the first half.
-- Index: primary key; outbox_bucket_id of the event's partition. The mark is a HOT update: no index has published_at.
-- Lock: the lane's row, then the events', which nobody else writes. Repeat: marks nothing twice.
with lane as (
    update outbox_lane
    set lease_until = clock_timestamp() + $3 * interval '1 millisecond',
        mark = case when mark = $4 then greatest(mark, $5) else mark end,
        mark_day = case when mark = $4 then greatest(mark_day, date '2000-01-01' + $6::integer) else mark_day end,
        read_to = greatest(read_to, $7)
    where lane = $1 and epoch = $2
    returning mark
),
published as (
    update outbox o set published_at = clock_timestamp()
    from unnest($8::smallint[], $9::bigint[], $10::integer[]) m (bucket, id, day)
    where o.bucket = m.bucket and o.id = m.id and o.day = date '2000-01-01' + m.day and o.published_at is null
      and exists (select from lane)
)
select mark from lane
