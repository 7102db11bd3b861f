-- Moves aggregates to the versions of the events to append: a row of the array is [type, id, first, last]. A version
-- that is not the next one, a first event that is not 1, or a type that is not numbered so makes the whole statement fail
-- by a constraint, with nothing changed.
-- Index: primary keys. Lock: the one writer's. Repeat: fails, since the numbers are used.
insert into outbox_sequence (type_id, aggregate_id, last, floor)
select (select t.id from outbox_type t where t.name = c.value ->> 0 and t.way = 'given'),
       c.value ->> 1,
       case
           when c.value ->> 2 = 1 then c.value ->> 3
           when exists (
               select 1 from outbox_sequence s join outbox_type t on t.id = s.type_id
               where t.name = c.value ->> 0 and s.aggregate_id = c.value ->> 1
           ) then c.value ->> 3
           else -1
       end,
       (c.value ->> 2) - 1
from json_each(?1) c
where true
on conflict (type_id, aggregate_id) do update
set last = case when outbox_sequence.last = excluded.floor then excluded.last else -1 end
