-- The last offset of each partition. A scan. No lock; a read.
select partition, max(offset) from event_log group by partition
