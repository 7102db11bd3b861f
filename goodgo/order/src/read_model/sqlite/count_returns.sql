-- Takes returns that were confirmed off the sales of their own day.
-- Index: the unique return_id, then the primary key. Lock: the write lock is held already.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into sales_by_day (day, product, quantity, revenue)
select date(r.placed_at / 1000, 'unixepoch'), l.value ->> 'product', -sum(l.value ->> 'quantity'),
       -sum((l.value ->> 'quantity') * (l.value ->> 'unit_price'))
from json_each(?1) e
cross join return_summary r on r.return_id = unhex(e.value)
cross join json_each(r.lines) l
group by 1, 2
on conflict (day, product) do update
set quantity = quantity + excluded.quantity, revenue = revenue + excluded.revenue
