-- The number of partitions of this log. Index: the only row. Lock: none. Repeat: reads the same.
select partitions from event_log_setting where id = 1
