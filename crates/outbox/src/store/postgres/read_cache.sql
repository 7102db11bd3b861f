-- Whether ids are drawn one at a time, on which their order rests. Index: the catalogue's. Lock: none.
-- Repeat: reads the same.
select seqcache = 1 and seqincrement = 1 from pg_sequence where seqrelid = 'outbox_id'::regclass
