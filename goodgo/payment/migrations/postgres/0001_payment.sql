-- What was paid for an order: captured once, then perhaps refunded, in parts, or voided when the order's saga ends
-- in compensation.
create table payment (
    order_id uuid primary key,
    id uuid not null,
    customer text not null,
    amount bigint not null check (amount > 0),        -- thousandths of the currency's unit
    refunded bigint not null check (refunded between 0 and amount),
    status text not null check (status in ('captured', 'refunded', 'voided')),
    version bigint not null check (version >= 1),     -- also the sequence of the payment's events
    captured_at bigint not null
) with (fillfactor = 80);

-- Every movement of money, signed: captures come in, refunds go out, adjustments are either. It is only ever appended to.
create table ledger (
    entry_no bigint generated always as identity primary key,
    kind text not null check (kind in ('capture', 'refund', 'adjustment')),
    order_id uuid,         -- of what was bought
    return_id uuid,        -- of what was returned
    customer text not null,
    amount bigint not null check (amount <> 0),
    reference text,        -- of an adjustment
    reason text,
    at bigint not null
);

-- A return is refunded once.
create unique index ledger_return on ledger (return_id) where return_id is not null;

-- What adjustments have made of a customer's account.
create table account (
    customer text primary key check (length(customer) between 1 and 64),
    balance bigint not null,
    version bigint not null check (version >= 1)      -- also the sequence of the account's events
) with (fillfactor = 50);
