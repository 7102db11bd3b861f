-- Every return, with the id of its order. A scan, and the primary key of orders. No lock; a read.
select r.key, uuid_send(r.id), r.return_no, uuid_send(o.id), r.placed_at, r.amount, r.status
from returns r left join orders o on o.key = r.order_key
order by r.key
