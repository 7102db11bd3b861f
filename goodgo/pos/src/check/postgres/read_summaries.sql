-- Every order as queries see it. A scan. No lock; a read.
select uuid_send(order_id), order_no, customer, placed_at, status, total, paid, refunded, returned, lines::text
from order_summary order by key
