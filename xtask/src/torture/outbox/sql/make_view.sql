-- The read model: a count and a sum for each aggregate, and a chain that only the right order makes. Index: primary key.
create table trial_view (
    aggregate_type text   not null,
    aggregate_id   text   not null,
    events         bigint not null,
    total          bigint not null,
    chain          bigint not null,
    primary key (aggregate_type, aggregate_id)
) with (fillfactor = 50)
