-- What the shop sells. Edited by people, under optimistic locking: an edit names the version that it was based on.
create table product (
    product text primary key check (length(product) between 1 and 64),
    description text not null,
    price bigint not null check (price >= 0),        -- thousandths of the currency's unit
    version bigint not null check (version >= 1)
);

-- What is there, and how much of it is promised to orders. Counted, not edited: a change names a delta and a guard, and
-- the check is the last line behind the guards. Narrow and with room in each page, so that a count stays on its page; nothing
-- refers to it, and no index holds a counted column.
create table stock (
    product text primary key,
    on_hand bigint not null,
    reserved bigint not null,
    version bigint not null check (version >= 1),    -- also the sequence of the row's events
    check (reserved between 0 and on_hand)
) with (fillfactor = 50);

-- What is promised to an order.
create table reservation (
    key bigint generated always as identity primary key,
    order_id uuid not null unique,
    status text not null check (status in ('reserved', 'released', 'committed')),
    version bigint not null check (version >= 1),
    created_at bigint not null
) with (fillfactor = 80);

create table reservation_line (
    reservation_key bigint not null references reservation (key),
    product text not null,
    quantity bigint not null check (quantity > 0),
    primary key (reservation_key, product)
);

-- Every change of `on_hand`, signed: at any time their sum for a product is its `on_hand`.
create table stock_movement (
    entry_no bigint generated always as identity primary key,
    product text not null,
    kind text not null check (kind in ('opened', 'committed', 'returned', 'adjusted')),
    quantity bigint not null,
    order_id uuid,        -- of what is committed
    return_id uuid,       -- of what is returned
    reference text,       -- of what is adjusted
    reason text,
    at bigint not null
);
