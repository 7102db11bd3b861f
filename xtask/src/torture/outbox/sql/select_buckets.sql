select distinct aggregate_type, aggregate_id, bucket from outbox
