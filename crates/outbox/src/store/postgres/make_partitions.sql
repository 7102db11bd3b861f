-- Makes the partitions of the coming week. Index: the catalogue's. Lock: the new partitions and the default one, briefly.
-- Repeat: makes none.
select outbox_make_partitions(7)
