-- The next offset of each partition. Index: the primary key's prefix. Lock: none. Repeat: reads the same.
select topic, partition, position from checkpoint where projection = $1 order by topic, partition
