-- Records a dead letter that an operator gives up. Only a dead one: the relay may be sending any other.
-- Index: a scan of the few that are held back. Lock: the one writer's. Repeat: records nothing, the letter is gone.
insert into outbox_discarded (event, event_id, aggregate_type, aggregate_id, event_type, sequence, attempts, last_error,
                              reason, discarded_at)
select event, event_id, aggregate_type, aggregate_id, event_type, sequence, attempts, last_error, ?2, ?3
from outbox_parked
where event_id = ?1 and dead_at is not null
returning event
