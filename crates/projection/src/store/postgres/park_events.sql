-- Parks events.
-- Index: the primary key. Lock: the rows; their aggregates are locked. Repeat: an event that is parked already keeps its
-- age; its error and its attempts are brought up to date.
insert into parked_event
    (projection, aggregate_type, aggregate_id, sequence, event_id, event, state, error, attempts, parked_at)
select $1, aggregate_type, aggregate_id, sequence, event_id, event, state, error, (state = 'poison')::integer, $9
from unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], $8::text[])
  as parked (aggregate_type, aggregate_id, sequence, event_id, event, state, error)
on conflict (projection, aggregate_type, aggregate_id, sequence)
do update set state = excluded.state, error = coalesce(excluded.error, parked_event.error),
              attempts = parked_event.attempts + excluded.attempts
