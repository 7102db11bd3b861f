-- Counts money into orders, [id, paid, refunded, returned] each, every order once.
-- Index: the unique order_id. Lock: the orders' rows, in their order.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into order_summary as o (order_id, paid, refunded, returned)
select (it ->> 0)::uuid, (it ->> 1)::bigint, (it ->> 2)::bigint, (it ->> 3)::bigint
from jsonb_array_elements($1::jsonb) it
order by 1
on conflict (order_id) do update
set paid = o.paid + excluded.paid, refunded = o.refunded + excluded.refunded, returned = o.returned + excluded.returned
