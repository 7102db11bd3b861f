-- Sets the mark that a refusal rolls back to and reads both effects of one step with the pruning horizon: one hop.
-- Index: saga_barrier_key (saga, step), at most two rows; the horizon's row is always there.
-- Lock: the database's write lock is held already (begin immediate), so no other call of this step is in flight.
-- Repeat: reads only; a second savepoint of the same name shadows the first.
savepoint steadfast_barrier;
select h.started_before, b.op, b.state, b.status, b.content_type, b.body, b.request
from saga_barrier_horizon h
left join saga_barrier b on b.saga = ?1 and b.step = ?2
where h.id = 1
