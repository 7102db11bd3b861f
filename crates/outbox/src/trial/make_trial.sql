-- The aggregates of a trial. Index: primary key. Lock: none. Repeat: keeps what is there.
create table if not exists outbox_trial (
    aggregate_type text   not null,
    aggregate_id   text   not null,
    version        bigint not null,
    primary key (aggregate_type, aggregate_id)
) with (fillfactor = 50);
