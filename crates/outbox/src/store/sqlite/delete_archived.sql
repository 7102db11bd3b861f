-- Deletes rows that were archived. Index: the rowid. Lock: the one writer's. Repeat: deletes nothing.
delete from outbox where id in (select value from json_each(?1)) and published_at is not null
