-- A captured payment, unless there is one for the order already.
-- Index: the unique order_id. Lock: waits for a transaction that is inserting the same order's. Repeat: no row is written.
insert into payment (id, order_id, customer, amount, refunded, status, version, captured_at)
values ($1, $2, $3, $4, 0, 'captured', 1, $5)
on conflict (order_id) do nothing
