-- Reads a bounded window of the log in order; no topics (null) or no partitions (null) means all of them.
-- Index: a range of the rowid. Lock: none. Repeat: reads the same.
select offset, partition, topic, key, headers, payload
from event_log
where offset >= ?1
  and offset <= ?2
  and (?3 is null or topic in (select value from json_each(?3)))
  and (?4 is null or partition in (select value from json_each(?4)))
order by offset
limit ?5
