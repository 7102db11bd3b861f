-- A lane that is held under this epoch. Index: primary key. Lock: none. Repeat: reads the same.
select first_bucket, last_bucket, mark, greatest(mark_day, date '2000-01-01') - date '2000-01-01'
from outbox_lane where lane = $1 and epoch = $2
