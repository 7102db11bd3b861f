-- The newest offset; 0 in an empty log. Index: the right edge of the rowid. Lock: none. Repeat: reads the same.
select coalesce(max(offset), 0) from event_log
