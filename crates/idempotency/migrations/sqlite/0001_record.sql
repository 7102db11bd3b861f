-- One row for each scope, user and key. The name is a hash and the only way in, so the rows themselves are its tree:
-- an insert of the transactional form touches one page.
create table idempotency_record (
    id blob primary key not null check (length(id) = 32),
    owner blob not null check (length(owner) = 16),
    state integer not null check (state in (0, 1, 2, 3)), -- pending, unknown, done, tombstone
    since integer not null,                               -- pending: end of the lease; unknown: when it ended; else: not read
    expires_at integer,                                   -- null: somebody has to resolve it first
    fingerprint blob not null,
    scope text not null,
    subject text not null,
    login text,
    forgotten integer not null check (forgotten in (0, 1)),
    attempt integer not null,
    unsure integer not null check (unsure in (0, 1)),
    claimed_at integer not null,
    status integer,
    headers blob,
    body blob
) strict, without rowid;

-- What is under way or unknown: few rows, and what an operator lists.
create index idempotency_record_open on idempotency_record (id) where state < 2;

-- What ends with a login: only rows of routes that say so.
create index idempotency_record_login on idempotency_record (subject, login) where login is not null;
