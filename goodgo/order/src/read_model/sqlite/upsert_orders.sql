-- What a batch tells of orders, from JSON objects, every order once: what it is, where it stands, and money to be counted in.
-- Index: the unique order_id. Lock: the write lock is held already.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into order_summary
    (order_id, order_no, customer, placed_at, currency, status, total, lines, paid, refunded, returned)
select unhex(value ->> 'id'), value ->> 'order_no', value ->> 'customer', value ->> 'placed_at', value ->> 'currency',
       value ->> 'status', value ->> 'total', value -> 'lines', value ->> 'paid', value ->> 'refunded', value ->> 'returned'
from json_each(?1) where true
on conflict (order_id) do update
set order_no = coalesce(excluded.order_no, order_no), customer = coalesce(excluded.customer, customer),
    placed_at = coalesce(excluded.placed_at, placed_at), currency = coalesce(excluded.currency, currency),
    status = coalesce(excluded.status, status), total = coalesce(excluded.total, total),
    lines = coalesce(excluded.lines, lines), paid = paid + excluded.paid,
    refunded = refunded + excluded.refunded, returned = returned + excluded.returned
