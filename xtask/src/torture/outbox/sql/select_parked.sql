select aggregate_type || ' ' || aggregate_id || ' ' || sequence || ': ' || state || coalesce(', ' || error, '') from parked_event
