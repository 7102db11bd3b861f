-- What was paid for an order: captured once, then perhaps refunded, in parts, or voided when the order's saga ends
-- in compensation. Rows are appended; the hashed id is only in a narrow index.
create table payment (
    key integer primary key,
    id blob not null check (length(id) = 16),
    order_id blob not null unique check (length(order_id) = 16),
    customer text not null,
    amount integer not null check (amount > 0),       -- thousandths of the currency's unit
    refunded integer not null check (refunded between 0 and amount),
    status text not null check (status in ('captured', 'refunded', 'voided')),
    version integer not null check (version >= 1),    -- also the sequence of the payment's events
    captured_at integer not null
) strict;

-- Every movement of money, signed: captures come in, refunds go out, adjustments are either. It is only ever appended to.
create table ledger (
    entry_no integer primary key,
    kind text not null check (kind in ('capture', 'refund', 'adjustment')),
    order_id blob,         -- of what was bought
    return_id blob,        -- of what was returned
    customer text not null,
    amount integer not null check (amount <> 0),
    reference text,        -- of an adjustment
    reason text,
    at integer not null
) strict;

-- A return is refunded once.
create unique index ledger_return on ledger (return_id) where return_id is not null;

-- What adjustments have made of a customer's account.
create table account (
    customer text primary key check (length(customer) between 1 and 64),
    balance integer not null,
    version integer not null check (version >= 1)     -- also the sequence of the account's events
) strict, without rowid;
