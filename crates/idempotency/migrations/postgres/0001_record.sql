-- One row for each scope, user and key. Not partitioned: a unique key would have to hold the partition column.
create table idempotency_record (
    id bytea primary key check (octet_length(id) = 32),
    owner bytea not null check (octet_length(owner) = 16),
    state smallint not null check (state between 0 and 3), -- pending, unknown, done, tombstone
    since bigint not null,                                 -- pending: end of the lease; unknown: when it ended; else: not read
    expires_at bigint,                                     -- null: somebody has to resolve it first
    fingerprint bytea not null,
    scope text not null,
    subject text not null,
    login text,
    forgotten boolean not null,
    attempt integer not null,
    unsure boolean not null,
    claimed_at bigint not null,
    status smallint,
    headers bytea,
    body bytea
);

-- What is under way or unknown: few rows, and what an operator lists.
create index idempotency_record_open on idempotency_record (id) where state < 2;

-- What ends with a login: only rows of routes that say so.
create index idempotency_record_login on idempotency_record (subject, login) where login is not null;

-- What is to be removed, oldest first.
create index idempotency_record_expiry on idempotency_record (expires_at);
