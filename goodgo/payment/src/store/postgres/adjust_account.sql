-- Counts an adjustment into a customer's account, which the first one opens. A count names no version; the version
-- that comes back numbers the event.
-- Index: the primary key. Lock: the account's row, until the end of the transaction.
-- Repeat: would count twice; it runs in the transaction of the idempotency record.
insert into account (customer, balance, version) values ($1, $2, 1)
on conflict (customer) do update set balance = account.balance + excluded.balance, version = account.version + 1
returning balance, version
