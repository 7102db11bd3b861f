-- What a batch tells of orders, from JSON objects, every order once: what it is, where it stands, and money to be counted in.
-- One statement for all, so that whoever holds orders and whoever holds their payments lock the rows in one order.
-- Index: the unique order_id. Lock: the orders' rows, in their order.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into order_summary as o
    (order_id, order_no, customer, placed_at, currency, status, total, lines, paid, refunded, returned)
select (it ->> 'id')::uuid, it ->> 'order_no', it ->> 'customer', (it ->> 'placed_at')::bigint, it ->> 'currency',
       it ->> 'status', (it ->> 'total')::bigint, it -> 'lines', (it ->> 'paid')::bigint, (it ->> 'refunded')::bigint,
       (it ->> 'returned')::bigint
from jsonb_array_elements($1::jsonb) it
order by 1
on conflict (order_id) do update
set order_no = coalesce(excluded.order_no, o.order_no), customer = coalesce(excluded.customer, o.customer),
    placed_at = coalesce(excluded.placed_at, o.placed_at), currency = coalesce(excluded.currency, o.currency),
    status = coalesce(excluded.status, o.status), total = coalesce(excluded.total, o.total),
    lines = coalesce(excluded.lines, o.lines), paid = o.paid + excluded.paid,
    refunded = o.refunded + excluded.refunded, returned = o.returned + excluded.returned
