-- Writes down what is passed over. ?2 is a JSON array of
-- [reason, type, id, first, last, event, topic, partition, position, detail].
-- Index: the rowid. Lock: the one writer's. Repeat: only in a transaction that passes over something once more.
insert into skipped_event
    (projection, reason, aggregate_type, aggregate_id, first_sequence, last_sequence, event, topic, partition,
     position, detail, skipped_at)
select ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, ?3
from json_each(?2)
