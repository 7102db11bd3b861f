-- An order, unless its id is taken.
-- Index: the unique id. Lock: waits for a transaction that is inserting the same id. Repeat: no row comes back.
insert into orders (id, order_no, customer, placed_at, total, currency, status, returned, version, created_at)
values ($1, $2, $3, $4, $5, $6, 'created', 0, 1, $7)
on conflict (id) do nothing
returning key
