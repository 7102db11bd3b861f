-- Every order as queries see it. A scan. No lock; a read.
select order_id, order_no, customer, placed_at, status, total, paid, refunded, returned, lines
from order_summary order by key
