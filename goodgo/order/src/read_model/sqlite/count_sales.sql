-- Counts orders that were confirmed into the sales of their day.
-- Index: the unique order_id, then the primary key. Lock: the write lock is held already.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into sales_by_day (day, product, quantity, revenue)
select date(o.placed_at / 1000, 'unixepoch'), l.value ->> 'product', sum(l.value ->> 'quantity'),
       sum((l.value ->> 'quantity') * (l.value ->> 'unit_price'))
from json_each(?1) e
cross join order_summary o on o.order_id = unhex(e.value)
cross join json_each(o.lines) l
group by 1, 2
on conflict (day, product) do update
set quantity = quantity + excluded.quantity, revenue = revenue + excluded.revenue
