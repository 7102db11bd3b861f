-- Adds what a batch tells of sagas; $6 is the moment. The saga's own event may come before or after those of its steps.
-- Index: the primary key, in its order. Lock: the rows, in the order of the key. Repeat: never, since the checkpoint
-- moves in the same transaction.
insert into saga_consistency (saga, outcome, accepted_at, settled_at, first_at, visible_at, events)
select saga, outcome, accepted_at, settled_at, $6, $6, events
from unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
  as told (saga, outcome, accepted_at, settled_at, events)
order by saga
on conflict (saga) do update set
    outcome = coalesce(excluded.outcome, saga_consistency.outcome),
    accepted_at = coalesce(saga_consistency.accepted_at, excluded.accepted_at),
    settled_at = case when excluded.outcome is null then saga_consistency.settled_at else excluded.settled_at end,
    visible_at = greatest(saga_consistency.visible_at, excluded.visible_at),
    events = saga_consistency.events + excluded.events
returning saga, accepted_at, settled_at, visible_at
