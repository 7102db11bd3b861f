-- Parked events for an operator, of one aggregate or of all, poison first, without their content.
-- Index: the primary key's prefix. Lock: none. Repeat: reads the same.
select p.aggregate_type, p.aggregate_id, p.sequence, p.event_id, p.event ->> 'event_type', p.state, p.error, p.attempts,
       p.parked_at
from parked_event as p
join projection on projection.id = p.projection
where projection.name = ?1 and (?3 is null or (p.aggregate_type = ?3 and p.aggregate_id = ?4))
order by p.state <> 'poison', p.parked_at, p.aggregate_type, p.aggregate_id, p.sequence
limit ?2
