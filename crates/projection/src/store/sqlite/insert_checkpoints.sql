-- Creates the rows of partitions that are met for the first time, where nobody has. ?2 is a JSON array of
-- [topic, partition, position].
-- Index: the primary key. Lock: the one writer's. Repeat: a row that exists stays as it is, and the fence tells.
insert into checkpoint (projection, topic, partition, position, updated_at)
select ?1, value ->> 0, value ->> 1, value ->> 2, ?3 from json_each(?2) where true
on conflict (projection, topic, partition) do nothing
