-- When the last event of each saga became visible. A scan. No lock; a read.
select saga, visible_at from saga_consistency
