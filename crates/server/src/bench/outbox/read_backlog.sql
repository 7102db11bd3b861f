-- Everything in the outbox with its lane, in order: what a bare producer sends and a bare mark marks.
select l.lane, o.bucket, o.id, o.day - date '2000-01-01' as day, o.event_id::text as event_id, o.aggregate_type, o.aggregate_id,
       o.event_type, o.sequence, o.payload::text as payload, (date_part('epoch', o.created_at) * 1000)::bigint as created_at
from outbox o
join outbox_lane l on o.bucket between l.first_bucket and l.last_bucket
order by o.id
