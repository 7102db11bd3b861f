-- A return, unless its id is taken.
-- Index: the unique id. Lock: waits for a transaction that is inserting the same id. Repeat: no row comes back.
insert into returns (id, return_no, order_key, customer, placed_at, amount, status, version, created_at)
values ($1, $2, $3, $4, $5, $6, 'recorded', 1, $7)
on conflict (id) do nothing
returning key
