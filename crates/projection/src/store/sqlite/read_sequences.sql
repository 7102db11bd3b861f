-- How far the aggregates of a batch have been applied. ?2 is a JSON array of [type, id].
-- Index: the primary key, once per aggregate (cross join, or SQLite would read the whole table).
-- Lock: the writer's, taken by BEGIN IMMEDIATE. Repeat: reads the same.
select s.aggregate_type, s.aggregate_id, s.last, s.event_id
from json_each(?2) as wanted
cross join aggregate_sequence as s
where s.projection = ?1
  and s.aggregate_type = wanted.value ->> 0
  and s.aggregate_id = wanted.value ->> 1
