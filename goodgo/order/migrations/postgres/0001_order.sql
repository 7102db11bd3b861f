-- What was ordered; lines hang on the integer key.
create table orders (
    key bigint generated always as identity primary key,
    id uuid not null unique,
    order_no text not null,                           -- the number on the receipt
    customer text not null,                           -- empty: walked in
    placed_at bigint not null,
    total bigint not null check (total >= 0),         -- thousandths of the currency's unit
    currency text not null,
    status text not null check (status in ('created', 'confirmed', 'cancelled')),
    returned bigint not null check (returned between 0 and total), -- what returns have claimed of the total
    version bigint not null check (version >= 1),     -- also the sequence of the order's events
    created_at bigint not null
) with (fillfactor = 80);

create table order_line (
    order_key bigint not null references orders (key),
    line bigint not null,
    product text not null,
    description text,
    quantity bigint not null check (quantity > 0),
    unit_price bigint not null check (unit_price >= 0),
    stocked boolean not null,
    primary key (order_key, line)
);

-- What came back: of an order, or of none that is known.
create table returns (
    key bigint generated always as identity primary key,
    id uuid not null unique,
    return_no text not null,
    order_key bigint references orders (key),
    customer text not null,
    placed_at bigint not null,
    amount bigint not null check (amount >= 0),
    status text not null check (status in ('recorded', 'confirmed', 'cancelled')),
    version bigint not null check (version >= 1),     -- also the sequence of the return's events
    created_at bigint not null
) with (fillfactor = 80);

create index returns_order on returns (order_key) where order_key is not null;

create table return_line (
    return_key bigint not null references returns (key),
    line bigint not null,
    product text not null,
    description text,
    quantity bigint not null check (quantity > 0),
    unit_price bigint not null check (unit_price >= 0),
    stocked boolean not null,
    primary key (return_key, line)
);
