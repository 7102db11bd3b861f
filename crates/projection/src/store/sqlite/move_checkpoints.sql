-- The fence: moves each partition from where the batch began to where it ends. Fewer rows than partitions means that
-- somebody else has applied them, and the whole batch is rolled back. ?2 is a JSON array of
-- [topic, partition, expected, position].
-- Index: the primary key. Lock: the one writer's. Repeat: moves nothing, since the position is no longer the expected one.
update checkpoint
set position = batch.position, updated_at = ?3
from (
    select value ->> 0 as topic, value ->> 1 as partition, value ->> 2 as expected, value ->> 3 as position
    from json_each(?2)
) as batch
where checkpoint.projection = ?1
  and checkpoint.topic = batch.topic
  and checkpoint.partition = batch.partition
  and checkpoint.position = batch.expected
