-- Holds back aggregates, or counts a further attempt; the arrays are buckets, ids, days since 2000, attempts, errors,
-- milliseconds of the next attempt, whether it is dead; $8: the time.
-- Index: outbox_bucket_id, then the primary key. Lock: the rows, after the epoch was compared in this transaction.
-- Repeat: writes the same.
insert into outbox_parked (aggregate_type, aggregate_id, bucket, event, event_id, event_type, sequence, created_at, day,
                           attempts, last_error, parked_at, next_attempt_at, dead_at)
select o.aggregate_type, o.aggregate_id, o.bucket, o.id, o.event_id, o.event_type, o.sequence, o.created_at, o.day,
       p.attempts, p.error, to_timestamp($8 / 1000.0), to_timestamp(p.next_attempt / 1000.0),
       case when p.dead then to_timestamp($8 / 1000.0) end
from unnest($1::smallint[], $2::bigint[], $3::integer[], $4::integer[], $5::text[], $6::double precision[], $7::boolean[])
     p (bucket, id, day, attempts, error, next_attempt, dead)
join outbox o on o.bucket = p.bucket and o.id = p.id and o.day = date '2000-01-01' + p.day
where o.published_at is null
on conflict (aggregate_type, aggregate_id) do update
set event = excluded.event, event_id = excluded.event_id, event_type = excluded.event_type, bucket = excluded.bucket,
    sequence = excluded.sequence, created_at = excluded.created_at, day = excluded.day, attempts = excluded.attempts,
    last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at, dead_at = excluded.dead_at
