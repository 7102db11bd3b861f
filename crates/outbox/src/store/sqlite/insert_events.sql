-- Writes events, in order: a row of the array is
-- [aggregate_id, aggregate_type, event_type, payload, event_id in hex, sequence, bucket, headers].
-- Index: the right edges of the table and of outbox_unpublished. Lock: the one writer's.
-- Repeat: cannot happen, since the numbers were claimed before.
insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, event_id, sequence, bucket, headers)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, ?2, unhex(value ->> 4), value ->> 5, value ->> 6, value ->> 7
from json_each(?1)
order by key
