-- The mark that a refusal rolls back to.
-- Index: none. Lock: none. Repeat: a second savepoint of the same name shadows the first.
savepoint steadfast_barrier
