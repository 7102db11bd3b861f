-- Holds back aggregates, or counts a further attempt: a row of the array is [event, attempts, last_error, next_attempt_at,
-- dead]. Index: the rowid, then the primary key. Lock: the one writer's, after the epoch was compared in this transaction.
-- Repeat: writes the same.
insert into outbox_parked (aggregate_type, aggregate_id, event, event_id, event_type, sequence, attempts, last_error,
                           parked_at, next_attempt_at, dead_at)
select o.aggregate_type, o.aggregate_id, o.id, o.event_id, o.event_type, o.sequence, p.value ->> 1, p.value ->> 2,
       ?1, p.value ->> 3, case when p.value ->> 4 then ?1 end
from json_each(?2) p join outbox o on o.id = p.value ->> 0
where o.published_at is null
on conflict (aggregate_type, aggregate_id) do update
set event = excluded.event, event_id = excluded.event_id, event_type = excluded.event_type,
    sequence = excluded.sequence, attempts = excluded.attempts, last_error = excluded.last_error,
    next_attempt_at = excluded.next_attempt_at, dead_at = excluded.dead_at
