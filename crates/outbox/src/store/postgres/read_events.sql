-- Held events that still wait, by id. Index: outbox_bucket_id of one partition each. Lock: none.
-- Repeat: reads what still waits.
select o.id, o.bucket, o.day, o.previous_id, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.sequence, o.payload,
       o.headers, o.created_at
from outbox_parked p
join outbox o on o.bucket = p.bucket and o.id = p.event and o.day = p.day
where p.event = any($1) and o.published_at is null
