-- A reservation with its lines, one row for each line.
-- Index: the unique order_id, then a range of the lines' primary key. Lock: none. Repeat: reads only.
select r.status, r.version, l.product, l.quantity
from reservation r join reservation_line l on l.reservation_key = r.key
where r.order_id = $1
order by l.product
