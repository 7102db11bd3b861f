-- The fence: moves each partition from where the batch began to where it ends. Fewer rows than partitions means that
-- somebody else has applied them, and the whole batch is rolled back.
-- Index: the primary key. Lock: the rows, in the order of the key, so that two who believe to own the same partitions
-- wait for each other instead of dying together; who waited finds the position moved.
-- Repeat: moves nothing, since the position is no longer the expected one.
with batch as (
    select *
    from unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[]) as b (topic, partition, expected, position)
),
held as (
    select c.topic, c.partition
    from checkpoint as c
    join batch as b on c.topic = b.topic and c.partition = b.partition and c.position = b.expected
    where c.projection = $1
    order by c.topic, c.partition
    for no key update of c
)
update checkpoint as c
set position = b.position, updated_at = $6
from batch as b
join held as h on h.topic = b.topic and h.partition = b.partition
where c.projection = $1 and c.topic = h.topic and c.partition = h.partition and c.position = b.expected
