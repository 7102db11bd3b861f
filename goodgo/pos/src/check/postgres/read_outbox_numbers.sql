-- The numbers that each aggregate has given out, and those of them that were archived. Two scans. No lock; a read.
select s.aggregate_type || '/' || s.aggregate_id, coalesce(f.floor, 0), s.last
from outbox_sequence s left join outbox_floor f using (aggregate_type, aggregate_id)
