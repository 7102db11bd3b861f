-- How an aggregate type is numbered. Index: unique (name). Lock: none. Repeat: reads the same.
select way from outbox_type where name = ?
