-- What queries read; made of events alone, and made again from them at any time.

-- One row for each order. Payments may be heard of before the order itself: until then its own columns are null.
create table order_summary (
    key integer primary key,
    order_id blob not null unique,
    order_no text,
    customer text,
    placed_at integer,
    currency text,
    status text,                              -- created, confirmed, cancelled
    total integer,
    paid integer not null default 0,
    refunded integer not null default 0,      -- what went back in money, also for orders that came to nothing
    returned integer not null default 0,      -- what went back in goods, in money
    lines text                                -- JSON
) strict;

create table return_summary (
    key integer primary key,
    return_id blob not null unique,
    return_no text not null,
    order_id blob,
    placed_at integer not null,
    amount integer not null,
    status text not null,                     -- recorded, confirmed, cancelled
    lines text not null                       -- JSON
) strict;

-- Of confirmed orders, by the day on which they were placed, less confirmed returns by theirs.
create table sales_by_day (
    day text not null,                        -- 2010-12-01, UTC
    product text not null,
    quantity integer not null,
    revenue integer not null,                 -- thousandths
    primary key (day, product)
) strict, without rowid;

create table stock_on_hand (
    product text primary key,
    on_hand integer not null,
    reserved integer not null
) strict, without rowid;
