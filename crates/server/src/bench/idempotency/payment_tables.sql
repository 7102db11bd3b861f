-- What a payment touches, beside the idempotency record.
create table account (id bigint primary key, balance bigint not null, version bigint not null) with (fillfactor = 50);
create table payment (
    id bigint generated always as identity primary key,
    account bigint not null,
    amount bigint not null
);
insert into account select id, 0, 1 from generate_series(0, 65535) as id;
analyze account;
