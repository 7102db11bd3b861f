-- The next offset that the slowest projection reads, of each partition. A scan. No lock; a read.
select topic, partition, min(position) from checkpoint group by topic, partition
