-- The rows of a day, whole, for the archive. Index: none, it reads the partition. Lock: none. Repeat: reads the same.
select o.id, o.bucket, o.day, o.previous_id, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.sequence, o.payload,
       o.headers, o.created_at, o.published_at
from outbox o
where o.day = $1::date
order by o.id
