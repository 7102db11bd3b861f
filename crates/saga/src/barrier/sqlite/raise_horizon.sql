-- Moves the pruning horizon forward, never back.
-- Index: the one row by its primary key. Lock: the database's write lock is held already.
-- Repeat: the same or an older horizon changes nothing.
update saga_barrier_horizon set started_before = ?1 where id = 1 and started_before < ?1
