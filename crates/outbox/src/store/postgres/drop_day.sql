-- Drops the partition of a day with so many rows, if nothing in it waits. Index: none, it counts the partition.
-- Lock: the table and the partition, exclusively, after a short wait. Repeat: answers `gone`.
select outbox_drop_day($1::date, $2, $3)
