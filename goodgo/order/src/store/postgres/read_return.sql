-- A return's state, with its order's where it has one.
-- Index: the unique id, then the order's primary key. Lock: none. Repeat: reads only.
select r.status, r.version, r.amount, o.id, o.returned, o.version
from returns r left join orders o on o.key = r.order_key
where r.id = $1
