-- What was passed over, newest first. Index: skipped_event_newest, backwards. Lock: none. Repeat: reads the same.
select s.reason, s.aggregate_type, s.aggregate_id, s.first_sequence, s.last_sequence, s.topic, s.partition,
       s.position, s.detail, s.skipped_at
from skipped_event as s
where s.projection = (select id from projection where name = $1)
order by s.id desc
limit $2
