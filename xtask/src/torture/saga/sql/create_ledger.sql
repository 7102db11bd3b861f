create table effect (
    no bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    saga uuid not null,
    step text not null,
    op text not null
);

create table alarm (
    at timestamptz not null default clock_timestamp(),
    key text not null,
    what text not null
);
