-- Events by bucket and id, as far as they wait and are not held back: those before an event that was read.
-- Index: outbox_bucket_id of each partition from the day $3 on. Lock: none. Repeat: reads what still waits.
select o.id, o.bucket, o.day, o.previous_id, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.sequence, o.payload,
       o.headers, o.created_at
from unnest($1::smallint[], $2::bigint[]) b (bucket, id)
join outbox o on o.bucket = b.bucket and o.id = b.id
where o.day >= date '2000-01-01' + $3::integer and o.published_at is null
  and not exists (
      select from outbox_parked p where p.aggregate_type = o.aggregate_type and p.aggregate_id = o.aggregate_id
  )
