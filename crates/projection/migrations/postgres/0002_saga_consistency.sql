-- What the consistency auditor knows of each saga. A row may begin with a domain event or with the saga's own.
-- Times are milliseconds since the Unix epoch.
create table saga_consistency (
    saga        bytea   primary key check (octet_length(saga) = 16),
    -- completed, compensated or failed; null until the saga's own event has come.
    outcome     text    check (outcome in ('completed', 'compensated', 'failed')),
    accepted_at bigint,
    settled_at  bigint,
    -- When the first and the last of its events became visible in the read model.
    first_at    bigint  not null,
    visible_at  bigint  not null,
    events      bigint  not null
) with (fillfactor = 70);

create index saga_consistency_accepted on saga_consistency (coalesce(accepted_at, first_at));
