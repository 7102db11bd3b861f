-- Orders that were created, from JSON objects. Index: the unique order_id. Lock: the write lock is held already.
-- Repeat: sets the same again; what payments have counted stays.
insert into order_summary (order_id, order_no, customer, placed_at, currency, status, total, lines)
select unhex(value ->> 'id'), value ->> 'order_no', value ->> 'customer', value ->> 'placed_at', value ->> 'currency',
       'created', value ->> 'total', value -> 'lines'
from json_each(?1) where true
on conflict (order_id) do update
set order_no = excluded.order_no, customer = excluded.customer, placed_at = excluded.placed_at,
    currency = excluded.currency, status = excluded.status, total = excluded.total, lines = excluded.lines
