-- Writes down what is passed over.
-- Index: none. Lock: the new rows. Repeat: only in a transaction that passes over something once more.
insert into skipped_event
    (projection, reason, aggregate_type, aggregate_id, first_sequence, last_sequence, event, topic, partition,
     position, detail, skipped_at)
select $1, reason, aggregate_type, aggregate_id, first_sequence, last_sequence, event, topic, partition,
       position, detail, $12
from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::integer[],
            $10::bigint[], $11::text[])
  as skip (reason, aggregate_type, aggregate_id, first_sequence, last_sequence, event, topic, partition, position, detail)
