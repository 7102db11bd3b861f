-- Asks the barrier about a call: takes the step's lock without waiting, reads the step's rows, decides; a compensation
-- that comes first writes its row at once. One round trip.
-- Index, lock and repeat: see saga_barrier_enter in migrations/barrier/postgres/0002_saga_barrier_functions.sql.
select outcome, status, content_type, body from saga_barrier_enter($1, $2, $3, $4)
