-- Events that wait, by id. Index: the rowid. Lock: none. Repeat: reads what still waits.
select id, event_id, aggregate_type, aggregate_id, event_type, sequence, payload, headers, created_at
from outbox
where id in (select value from json_each(?1)) and published_at is null
order by id
