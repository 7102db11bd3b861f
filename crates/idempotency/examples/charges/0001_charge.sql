-- What was charged. Nothing here knows an idempotency key: a second execution is a second row.
create table charge (
    id bigint generated always as identity primary key,
    reference text not null, -- the client's own, such as a receipt's number
    cents bigint not null check (cents > 0),
    attempt bigint not null,
    charged_at timestamptz not null default clock_timestamp()
);
