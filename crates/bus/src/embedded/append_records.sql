-- Appends records at the right edge of the table; the values are repeated for as many rows as are bound.
-- Index: the rowid. Lock: the one writer's. Repeat: stores the records again; consumers tell by ce_id.
insert into event_log (partition, topic, key, headers, payload)
values (?, ?, ?, ?, ?)
