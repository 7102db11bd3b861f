-- Where the given sagas stand (unique index on `saga.id` for each). No lock; a read.
select r.key as place, s.status, s.held, s.overdue, s.wake_at, s.ended_at, s.cause
from json_each(?1) as r join saga s on s.id = unhex(r.value)
