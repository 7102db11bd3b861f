-- What was passed over, newest first. Index: the rowid, backwards. Lock: none. Repeat: reads the same.
select s.reason, s.aggregate_type, s.aggregate_id, s.first_sequence, s.last_sequence, s.topic, s.partition,
       s.position, s.detail, s.skipped_at
from skipped_event as s
join projection on projection.id = s.projection
where projection.name = ?1
order by s.id desc
limit ?2
