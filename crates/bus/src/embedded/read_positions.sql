-- The positions of one name. Index: the primary key. Lock: none. Repeat: reads the same.
select partition, position from event_log_position where name = ? order by partition
