-- One row for each effect of a saga that this database holds, or that must never happen here.
-- Rows are appended in order of arrival and found by a narrow index. Saga ids are hashed, so a primary key on them
-- would write a wide page at random for each row: measured at 600,000 rows, that loads 1.5 times slower.
create table saga_barrier (
    no integer primary key,
    saga blob not null check (length(saga) = 16),
    step text not null,
    op integer not null check (op in (1, 2)),          -- 1 action, 2 compensate
    state integer not null check (state in (1, 2, 3)), -- 1 done, 2 refused, 3 void
    status integer not null,
    content_type text,                                 -- null: application/json
    body blob,                                         -- null: none
    request blob not null,                             -- the first bytes of the request body's SHA-256
    started_at integer not null,                       -- Saga-Started
    created_at integer not null
) strict;

create unique index saga_barrier_key on saga_barrier (saga, step, op);

-- Sagas that started before this moment have ended for good; their rows may be gone.
create table saga_barrier_horizon (
    id integer primary key check (id = 1),
    started_before integer not null
) strict;

insert into saga_barrier_horizon (id, started_before) values (1, 0);
