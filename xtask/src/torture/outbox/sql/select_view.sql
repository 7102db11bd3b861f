select aggregate_type, aggregate_id, events, total, chain from trial_view
