-- When the last event of each of these sagas became visible (the primary key of saga_consistency). No lock; a read.
select saga, visible_at from saga_consistency where saga = any($1)
