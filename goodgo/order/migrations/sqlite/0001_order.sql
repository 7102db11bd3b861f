-- What was ordered. Rows are appended; the hashed id is only in a narrow index, lines hang on the integer key.
create table orders (
    key integer primary key,
    id blob not null unique check (length(id) = 16),
    order_no text not null,                           -- the number on the receipt
    customer text not null,                           -- empty: walked in
    placed_at integer not null,
    total integer not null check (total >= 0),        -- thousandths of the currency's unit
    currency text not null,
    status text not null check (status in ('created', 'confirmed', 'cancelled')),
    returned integer not null check (returned between 0 and total), -- what returns have claimed of the total
    version integer not null check (version >= 1),    -- also the sequence of the order's events
    created_at integer not null
) strict;

create table order_line (
    order_key integer not null references orders (key),
    line integer not null,
    product text not null,
    description text,
    quantity integer not null check (quantity > 0),
    unit_price integer not null check (unit_price >= 0),
    stocked integer not null check (stocked in (0, 1)),
    primary key (order_key, line)
) strict, without rowid;

-- What came back: of an order, or of none that is known.
create table returns (
    key integer primary key,
    id blob not null unique check (length(id) = 16),
    return_no text not null,
    order_key integer references orders (key),
    customer text not null,
    placed_at integer not null,
    amount integer not null check (amount >= 0),
    status text not null check (status in ('recorded', 'confirmed', 'cancelled')),
    version integer not null check (version >= 1),    -- also the sequence of the return's events
    created_at integer not null
) strict;

create index returns_order on returns (order_key) where order_key is not null;

create table return_line (
    return_key integer not null references returns (key),
    line integer not null,
    product text not null,
    description text,
    quantity integer not null check (quantity > 0),
    unit_price integer not null check (unit_price >= 0),
    stocked integer not null check (stocked in (0, 1)),
    primary key (return_key, line)
) strict, without rowid;
