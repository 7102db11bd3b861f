-- An aggregate's first parked event and the number that it waits for.
-- Index: two primary keys. Lock: the writer's. Repeat: reads the same.
select p.sequence, p.event_id, p.state, p.event, coalesce(s.last, 0)
from parked_event as p
left join aggregate_sequence as s
  on s.projection = p.projection and s.aggregate_type = p.aggregate_type and s.aggregate_id = p.aggregate_id
where p.projection = ?1 and p.aggregate_type = ?2 and p.aggregate_id = ?3
order by p.sequence
limit 1
