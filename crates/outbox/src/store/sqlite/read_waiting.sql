-- When the oldest of the events that wait were written. Index: outbox_unpublished. Lock: none. Repeat: reads the same.
select created_at from outbox indexed by outbox_unpublished where published_at is null order by id limit ?
