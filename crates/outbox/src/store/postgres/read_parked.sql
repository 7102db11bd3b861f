-- What is held back in a range of buckets. Index: a scan of the few that are. Lock: none. Repeat: reads the same.
select event, event_id, aggregate_type, aggregate_id, event_type, sequence, attempts, last_error, parked_at,
       next_attempt_at, dead_at
from outbox_parked
where bucket between $1 and $2
order by aggregate_type, aggregate_id
limit $3
