-- One row for each effect of a saga that this database holds, or that must never happen here.
-- The key's index is written at random, since saga ids are hashed: it holds nothing but the key. Pruning has an index of
-- its own, which only grows at its end: rows arrive nearly in the order in which their sagas started.
create table saga_barrier (
    saga uuid not null,
    started_at bigint not null,                         -- Saga-Started
    created_at timestamptz not null default now(),
    op smallint not null check (op in (1, 2)),          -- 1 action, 2 compensate
    state smallint not null check (state in (1, 2, 3)), -- 1 done, 2 refused, 3 void
    status smallint not null,
    step text not null,
    content_type text,                                  -- null: application/json
    body bytea,                                         -- null: none
    request bytea not null,                             -- the first bytes of the request body's SHA-256
    primary key (saga, step, op)
);

create index saga_barrier_started on saga_barrier (started_at);

-- Sagas that started before this moment have ended for good; their rows may be gone.
create table saga_barrier_horizon (
    id smallint primary key check (id = 1),
    started_before bigint not null
);

insert into saga_barrier_horizon (id, started_before) values (1, 0);
