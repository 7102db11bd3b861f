-- The numbers that each aggregate has given out, and those of them that were archived. A scan. No lock; a read.
select t.name || '/' || s.aggregate_id, s.floor, s.last from outbox_sequence s join outbox_type t on t.id = s.type_id
