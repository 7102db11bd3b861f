-- This relay asks for lanes no more. Index: primary key. Lock: its row. Repeat: deletes nothing.
delete from outbox_relay where node = $1
