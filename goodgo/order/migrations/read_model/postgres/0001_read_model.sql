-- What queries read; made of events alone, and made again from them at any time.

-- One row for each order. Payments may be heard of before the order itself: until then its own columns are null.
create table order_summary (
    key bigint generated always as identity primary key,
    order_id uuid not null unique,
    order_no text,
    customer text,
    placed_at bigint,
    currency text,
    status text,                              -- created, confirmed, cancelled
    total bigint,
    paid bigint not null default 0,
    refunded bigint not null default 0,       -- what went back in money, also for orders that came to nothing
    returned bigint not null default 0,       -- what went back in goods, in money
    lines jsonb
) with (fillfactor = 80);

create table return_summary (
    key bigint generated always as identity primary key,
    return_id uuid not null unique,
    return_no text not null,
    order_id uuid,
    placed_at bigint not null,
    amount bigint not null,
    status text not null,                     -- recorded, confirmed, cancelled
    lines jsonb not null
) with (fillfactor = 80);

-- Of confirmed orders, by the day on which they were placed, less confirmed returns by theirs.
create table sales_by_day (
    day text not null,                        -- 2010-12-01, UTC
    product text not null,
    quantity bigint not null,
    revenue bigint not null,                  -- thousandths
    primary key (day, product)
) with (fillfactor = 70);

create table stock_on_hand (
    product text primary key,
    on_hand bigint not null,
    reserved bigint not null
) with (fillfactor = 70);
