-- Every order. A scan. No lock; a read.
select key, uuid_send(id), order_no, customer, placed_at, total, status from orders order by key
