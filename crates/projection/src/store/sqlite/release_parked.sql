-- Removes events that have left the parking. ?2 is a JSON array of [type, id, sequence].
-- Index: the primary key. Lock: the one writer's. Repeat: removes nothing.
delete from parked_event
where projection = ?1
  and (aggregate_type, aggregate_id, sequence) in (select value ->> 0, value ->> 1, value ->> 2 from json_each(?2))
