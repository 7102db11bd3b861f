-- Counts orders that were confirmed into the sales of their day, and takes confirmed returns off those of theirs:
-- [id, "order" or "return"] each.
-- Index: the unique order_id or return_id, then the primary key. Lock: the write lock is held already.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into sales_by_day (day, product, quantity, revenue)
select date(moved.placed_at / 1000, 'unixepoch'), l.value ->> 'product', sum(moved.sign * (l.value ->> 'quantity')),
       sum(moved.sign * (l.value ->> 'quantity') * (l.value ->> 'unit_price'))
from (
    select o.placed_at, o.lines, 1 as sign
    from json_each(?1) e
    cross join order_summary o on o.order_id = unhex(e.value ->> 0)
    where e.value ->> 1 = 'order'
    union all
    select r.placed_at, r.lines, -1
    from json_each(?1) e
    cross join return_summary r on r.return_id = unhex(e.value ->> 0)
    where e.value ->> 1 = 'return'
) moved
cross join json_each(moved.lines) l
where true
group by 1, 2
on conflict (day, product) do update
set quantity = quantity + excluded.quantity, revenue = revenue + excluded.revenue
