-- The last offset of each partition; the log's partitions hold all topics. A scan. No lock; a read.
select '', partition, max(offset) from event_log group by partition
