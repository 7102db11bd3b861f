-- Aggregates that need a look although no event of theirs has come: moved on by an operator, or waiting since $2.
-- Index: parked_event_retry and parked_event_waiting, oldest first. Lock: none. Repeat: reads the same.
(select aggregate_type, aggregate_id from parked_event where projection = $1 and state = 'retry' limit $3)
union
(select aggregate_type, aggregate_id from parked_event
 where projection = $1 and state = 'waiting' and parked_at <= $2
 order by parked_at limit $3)
