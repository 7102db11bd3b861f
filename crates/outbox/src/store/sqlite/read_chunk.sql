-- The oldest rows after a row, whole, for the archive. The newest row is never among them: its id must not be used twice.
-- `held` says that an earlier event of the aggregate still waits, so that this one may not go first.
-- Index: a range of the rowid. Lock: none. Repeat: reads the same.
select id, event_id, aggregate_type, aggregate_id, event_type, sequence, payload, headers, created_at, published_at,
       exists (
           select 1 from outbox_parked p
           where p.aggregate_type = outbox.aggregate_type and p.aggregate_id = outbox.aggregate_id and p.event < outbox.id
       )
from outbox
where id > ?1 and id < (select max(id) from outbox)
order by id
limit ?2
