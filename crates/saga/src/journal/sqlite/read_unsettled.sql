-- A page of what a lane has to take up again, in the order of the starts (index saga_unsettled). No lock: the lane has
-- been taken before, so nobody else writes these rows.
select s.no, s.id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
from saga s
where s.lane = ?1 and s.no > ?2 and s.status in ('pending', 'running', 'compensating')
order by s.no
limit ?3
