-- What was bought of each product of an order, and what of it returns have claimed.
-- Index: ranges of order_line's and return_line's primary keys, returns_order. Lock: none beyond the transaction's.
-- Repeat: reads only.
select product, sum(bought), sum(back)
from (
    select product, quantity as bought, 0 as back from order_line where order_key = ?1
    union all
    select l.product, 0, l.quantity
    from returns r join return_line l on l.return_key = r.key
    where r.order_key = ?1 and r.status <> 'cancelled'
)
group by product
