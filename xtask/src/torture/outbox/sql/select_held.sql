select aggregate_type || ' ' || aggregate_id from outbox_parked
