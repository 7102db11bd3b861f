-- An order, once its creation has been heard of. Index: the unique order_id. Lock: none. Repeat: reads only.
select order_no, customer, placed_at, currency, status, total, paid, refunded, returned, lines::text
from order_summary
where order_id = $1 and order_no is not null
