-- The sagas that were accepted until ?1: how many, how many were consistent within ?2 milliseconds, the mean time to
-- consistency, and of how many only events of their steps are known.
-- Index: saga_consistency_accepted, a range. Lock: none. Repeat: reads the same.
select count(*),
       count(*) filter (where settled_at is not null and max(settled_at, visible_at) - accepted_at <= ?2),
       avg(max(settled_at, visible_at) - accepted_at) filter (where settled_at is not null),
       count(*) filter (where outcome is null)
from saga_consistency
where coalesce(accepted_at, first_at) <= ?1
