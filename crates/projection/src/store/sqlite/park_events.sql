-- Parks events. ?2 is a JSON array of [type, id, sequence, event id in hexadecimal, event, state, error].
-- Index: the primary key. Lock: the one writer's. Repeat: an event that is parked already keeps its age; its error and
-- its attempts are brought up to date.
insert into parked_event
    (projection, aggregate_type, aggregate_id, sequence, event_id, event, state, error, attempts, parked_at)
select ?1, value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5, value ->> 6,
       (value ->> 5) = 'poison', ?3
from json_each(?2) where true
on conflict (projection, aggregate_type, aggregate_id, sequence)
do update set state = excluded.state, error = coalesce(excluded.error, parked_event.error),
              attempts = parked_event.attempts + excluded.attempts
