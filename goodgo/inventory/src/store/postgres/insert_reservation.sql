-- Promises stock to an order, unless something is promised to it already.
-- Index: the unique order_id. Lock: waits for a transaction that is inserting the same order's. Repeat: no row comes back.
insert into reservation (order_id, status, version, created_at) values ($1, 'reserved', 1, $2)
on conflict (order_id) do nothing
returning key
