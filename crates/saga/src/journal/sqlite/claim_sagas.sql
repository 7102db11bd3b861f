-- Moves sagas from the queue into the lane, oldest first (index saga_unsettled). Under the writer's lock, after the fence. A
-- repeat moves the next ones.
update saga set lane = ?1
where no in (
    select q.no from saga q
    where q.lane = 0 and q.status in ('pending', 'running', 'compensating')
    order by q.no
    limit ?2
)
returning no, id, definition, version, status, held, overdue, wake_at, business_key, principal, started_at, ended_at, cause
