-- Takes back what the refused work wrote, back to the mark of enter_step.sql, and records the refusal: one hop.
-- Index: appended by rowid; saga_barrier_key is checked.
-- Lock: the database's write lock is held already and survives the partial rollback.
-- Repeat: a second row for the key violates saga_barrier_key, and everything is rolled back with it.
rollback to steadfast_barrier;
insert into saga_barrier (saga, step, op, state, status, content_type, body, request, started_at, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
