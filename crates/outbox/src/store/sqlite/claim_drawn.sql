-- Draws numbers for aggregates: a row of the array is [type, id, first (1), amount]. Answers with the last number of
-- each. A type that is not numbered so makes the whole statement fail by a constraint, with nothing changed.
-- Index: primary keys. Lock: the one writer's. Repeat: draws further numbers; it stands in the caller's transaction.
insert into outbox_sequence (type_id, aggregate_id, last)
select (select t.id from outbox_type t where t.name = c.value ->> 0 and t.way = 'drawn'),
       c.value ->> 1,
       c.value ->> 3
from json_each(?1) c
where true
on conflict (type_id, aggregate_id) do update set last = outbox_sequence.last + excluded.last
returning (select t.name from outbox_type t where t.id = outbox_sequence.type_id), aggregate_id, last
