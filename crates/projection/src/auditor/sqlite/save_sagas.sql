-- Adds what a batch tells of sagas. ?1 is a JSON array of [saga in hexadecimal, outcome, accepted at, settled at, events],
-- ?2 the moment. The saga's own event may come before or after those of its steps.
-- Index: the primary key. Lock: the one writer's. Repeat: never, since the checkpoint moves in the same transaction.
insert into saga_consistency (saga, outcome, accepted_at, settled_at, first_at, visible_at, events)
select unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, ?2, ?2, value ->> 4 from json_each(?1) where true
on conflict (saga) do update set
    outcome = coalesce(excluded.outcome, saga_consistency.outcome),
    accepted_at = coalesce(saga_consistency.accepted_at, excluded.accepted_at),
    settled_at = case when excluded.outcome is null then saga_consistency.settled_at else excluded.settled_at end,
    visible_at = max(saga_consistency.visible_at, excluded.visible_at),
    events = saga_consistency.events + excluded.events
returning saga, accepted_at, settled_at, visible_at
