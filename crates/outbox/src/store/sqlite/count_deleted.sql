-- Counts deleted rows, in the transaction that deletes them. Index: the only row. Lock: the one writer's.
-- Repeat: cannot happen, it commits with the deletion.
update outbox_deleted set amount = amount + ?1 where id = 1
