-- Records an effect with its answer, in the effect's transaction.
-- Index: the primary key. Lock: the step's, since enter_step.sql.
-- Repeat: a second row for the key violates the primary key, and everything is rolled back with it.
select saga_barrier_leave($1, $2, $3, $4)
