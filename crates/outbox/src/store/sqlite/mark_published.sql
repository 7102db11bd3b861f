-- Marks events as published. Index: the rowid. Lock: the one writer's, after the epoch was compared in this transaction.
-- Repeat: changes nothing.
update outbox set published_at = ?1
where id in (select value from json_each(?2)) and published_at is null
