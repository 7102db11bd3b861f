-- Moves one saga that is parked, or waits in the queue, into the lane (unique index on `saga.id`). Under the writer's lock,
-- after the fence. A repeat finds a parked one again, and one of the queue no more.
update saga set lane = ?1
where id = ?2 and (status = 'failed' or (lane = 0 and status in ('pending', 'running', 'compensating')))
returning no, id, definition, version, status, held, overdue, wake_at, business_key, principal, started_at, ended_at, cause
