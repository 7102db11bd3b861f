-- What writers change, and a table that takes the same event without any order.
create table thing (id integer primary key, version bigint not null) with (fillfactor = 70);
insert into thing (id, version) select g, 0 from generate_series(0, 1999) g;
create table unordered (
    id             bigserial primary key,
    aggregate_id   text,
    aggregate_type text,
    event_type     text,
    payload        json,
    created_at     timestamptz,
    published_at   timestamptz
);
