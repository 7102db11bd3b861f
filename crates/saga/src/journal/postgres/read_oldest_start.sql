-- The start of the oldest saga that is executing or waits for an operator (indexes saga_lane and saga_parked_no, as many entries
-- as there are such sagas). No lock; a read.
select min(open.started_at)
from (
    select min(started_at) as started_at from saga where lane is not null
    union all
    select min(started_at) from saga where parked
) open
