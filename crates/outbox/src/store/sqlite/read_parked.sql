-- What is held back. Index: a scan of the few that are. Lock: none. Repeat: reads the same.
select event, event_id, aggregate_type, aggregate_id, event_type, sequence, attempts, last_error, parked_at,
       next_attempt_at, dead_at
from outbox_parked
order by aggregate_type, aggregate_id
limit ?
