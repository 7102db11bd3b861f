-- Where the given sagas stand (`saga_id` for each). No lock; a read.
select r.place, s.status, s.held, s.overdue, s.wake_at, s.ended_at, s.cause
from unnest($1::text[]) with ordinality as r (id, place) join saga s on s.id = r.id::uuid
