-- Records what became of one effect, in the transaction of the effect.
-- Index: appended by rowid; saga_barrier_key is checked.
-- Lock: the database's write lock is held already.
-- Repeat: a second row for the key violates saga_barrier_key, and everything is rolled back with it.
insert into saga_barrier (saga, step, op, state, status, content_type, body, request, started_at, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
