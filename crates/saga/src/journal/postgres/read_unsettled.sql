-- A page of what a lane has to take up again, in the order of the starts (index saga_lane). No lock: the lane has been taken
-- before, so nobody else writes these rows.
select s.no, uuid_send(s.id) as id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
from saga s
where s.lane = $1 and s.no + 0 > $2 and s.status in ('pending', 'running', 'compensating')
order by s.no + 0
limit $3
