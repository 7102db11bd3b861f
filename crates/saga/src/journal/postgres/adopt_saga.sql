-- Moves one saga that is parked, or waits in the queue, into the lane (`saga_id`; the lock of its row decides against an
-- append, a claim and another adoption). The lane's row under FOR SHARE, as an append has it. A repeat finds a parked one
-- again, and one of the queue no more.
with fence as materialized (
    select l.id from lane l where l.id = $1 and l.epoch = $2 for share
)
update saga s set lane = $1
from fence
where s.id = $3::uuid and (s.parked or s.lane = 0)
returning s.no, uuid_send(s.id) as id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
