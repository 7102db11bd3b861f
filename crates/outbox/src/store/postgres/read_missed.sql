-- Events that wait at or below the low-water mark of lane $6, between two ids, whatever their day: there should be none.
-- Index: outbox_bucket_id of every partition. Lock: none. Repeat: reads what still waits.
select o.id, o.bucket, o.day, o.previous_id, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.sequence, o.payload,
       o.headers, o.created_at
from unnest($1::smallint[]) b (bucket)
join outbox o on o.bucket = b.bucket
where o.id > $2 and o.id <= $3 and o.id <= (select l.mark from outbox_lane l where l.lane = $5) and o.published_at is null
  and not exists (
      select from outbox_parked p where p.aggregate_type = o.aggregate_type and p.aggregate_id = o.aggregate_id
  )
limit $4
