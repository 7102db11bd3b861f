-- Remembers up to which number an aggregate was archived: a row of the array is [type, id, sequence].
-- Index: primary keys. Lock: the one writer's. Repeat: changes nothing.
update outbox_sequence set floor = a.sequence
from (
    select t.id as type_id, value ->> 1 as aggregate_id, value ->> 2 as sequence
    from json_each(?1) join outbox_type t on t.name = value ->> 0
) a
where outbox_sequence.type_id = a.type_id and outbox_sequence.aggregate_id = a.aggregate_id
  and outbox_sequence.floor < a.sequence
