-- Orders that were created, from JSON objects. Index: the unique order_id. Lock: the orders' rows, in their order.
-- Repeat: sets the same again; what payments have counted stays.
insert into order_summary as o (order_id, order_no, customer, placed_at, currency, status, total, lines)
select (it ->> 'id')::uuid, it ->> 'order_no', it ->> 'customer', (it ->> 'placed_at')::bigint, it ->> 'currency',
       'created', (it ->> 'total')::bigint, it -> 'lines'
from jsonb_array_elements($1::jsonb) it
order by 1
on conflict (order_id) do update
set order_no = excluded.order_no, customer = excluded.customer, placed_at = excluded.placed_at,
    currency = excluded.currency, status = excluded.status, total = excluded.total, lines = excluded.lines
