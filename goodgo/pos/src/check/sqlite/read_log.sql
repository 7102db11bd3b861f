-- The envelopes of the whole log. A scan in order of offset. No lock; a read.
select offset, headers from event_log order by offset
