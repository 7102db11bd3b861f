-- What the shop sells. Edited by people, under optimistic locking: an edit names the version that it was based on.
create table product (
    product text primary key check (length(product) between 1 and 64),
    description text not null,
    price integer not null check (price >= 0),       -- thousandths of the currency's unit
    version integer not null check (version >= 1)
) strict, without rowid;

-- What is there, and how much of it is promised to orders. Counted, not edited: a change names a delta and a guard, and
-- the check is the last line behind the guards.
create table stock (
    product text primary key references product (product),
    on_hand integer not null,
    reserved integer not null,
    version integer not null check (version >= 1),   -- also the sequence of the row's events
    check (reserved between 0 and on_hand)
) strict, without rowid;

-- What is promised to an order. Rows are appended; the hashed id is only in a narrow index.
create table reservation (
    key integer primary key,
    order_id blob not null unique check (length(order_id) = 16),
    status text not null check (status in ('reserved', 'released', 'committed')),
    version integer not null check (version >= 1),
    created_at integer not null
) strict;

create table reservation_line (
    reservation_key integer not null references reservation (key),
    product text not null,
    quantity integer not null check (quantity > 0),
    primary key (reservation_key, product)
) strict, without rowid;

-- Every change of `on_hand`, signed: at any time their sum for a product is its `on_hand`.
create table stock_movement (
    entry_no integer primary key,
    product text not null,
    kind text not null check (kind in ('opened', 'committed', 'returned', 'adjusted')),
    quantity integer not null,
    order_id blob,        -- of what is committed
    return_id blob,       -- of what is returned
    reference text,       -- of what is adjusted
    reason text,
    at integer not null
) strict;
