-- One saga by its id (`saga_id`). No lock; a read.
select s.no, uuid_send(s.id) as id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
from saga s
where s.id = $1::uuid
