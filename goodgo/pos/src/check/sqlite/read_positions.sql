-- The next offset that the slowest projection reads, of each partition. A scan. No lock; a read.
select partition, min(position) from checkpoint group by partition
