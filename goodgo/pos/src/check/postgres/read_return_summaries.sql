-- Every return as queries see it. A scan. No lock; a read.
select uuid_send(return_id), return_no, uuid_send(order_id), placed_at, amount, status, lines::text
from return_summary order by key
