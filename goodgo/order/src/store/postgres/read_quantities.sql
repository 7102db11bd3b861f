-- What was bought of each product of an order, and what of it returns have claimed.
-- Index: ranges of order_line's and return_line's primary keys, returns_order. Lock: none; who claims is told apart by the
-- order's version. Repeat: reads only.
select product, sum(bought)::bigint, sum(back)::bigint
from (
    select product, quantity as bought, 0 as back from order_line where order_key = $1
    union all
    select l.product, 0, l.quantity
    from returns r join return_line l on l.return_key = r.key
    where r.order_key = $1 and r.status <> 'cancelled'
) as moved
group by product
