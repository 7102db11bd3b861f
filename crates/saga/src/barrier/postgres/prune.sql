-- Raises the horizon and removes a batch of rows behind it.
-- Index, lock and repeat: see saga_barrier_prune in migrations/barrier/postgres/0002_saga_barrier_functions.sql.
select saga_barrier_prune($1, $2)
