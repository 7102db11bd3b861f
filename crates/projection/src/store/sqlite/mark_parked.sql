-- Brings the rest of aggregates' parked events in line: behind a poison event, or waiting again (?3).
-- ?2 is a JSON array of [type, id]. Index: the primary key's prefix. Lock: the one writer's. Repeat: no change.
update parked_event
set state = ?3
where projection = ?1
  and (aggregate_type, aggregate_id) in (select value ->> 0, value ->> 1 from json_each(?2))
  and state in ('waiting', 'behind', 'retry')
  and state <> ?3
