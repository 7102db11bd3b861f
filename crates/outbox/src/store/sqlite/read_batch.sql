-- The next events that wait, in order, without those of aggregates that are held back.
-- Index: outbox_unpublished, whose entries stand in order of id. Lock: none. Repeat: reads what still waits.
select id, event_id, aggregate_type, aggregate_id, event_type, sequence, payload, headers, created_at
from outbox indexed by outbox_unpublished
where published_at is null
  and id > ?1
  and not exists (
      select 1 from outbox_parked p
      where p.aggregate_type = outbox.aggregate_type and p.aggregate_id = outbox.aggregate_id
  )
order by id
limit ?2
