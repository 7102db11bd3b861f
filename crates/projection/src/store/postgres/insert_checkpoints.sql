-- Creates the rows of partitions that are met for the first time, where nobody has.
-- Index: the primary key, in its order. Lock: the new rows; it waits for another who makes the same one.
-- Repeat: a row that exists stays as it is, and the fence tells.
insert into checkpoint (projection, topic, partition, position, updated_at)
select $1, topic, partition, position, $5
from unnest($2::text[], $3::integer[], $4::bigint[]) as first (topic, partition, position)
order by topic collate "C", partition
on conflict (projection, topic, partition) do nothing
