-- Counts orders that were confirmed into the sales of their day, and takes confirmed returns off those of theirs:
-- [id, "order" or "return"] each. One statement for both, so that the rows of a day are locked in one order.
-- Index: the unique order_id or return_id, then the primary key. Lock: the sales' rows, in their order.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into sales_by_day as s (day, product, quantity, revenue)
select to_char(to_timestamp(moved.placed_at / 1000) at time zone 'utc', 'YYYY-MM-DD'), l ->> 'product',
       sum(moved.sign * (l ->> 'quantity')::bigint)::bigint,
       sum(moved.sign * (l ->> 'quantity')::bigint * (l ->> 'unit_price')::bigint)::bigint
from (
    select o.placed_at, o.lines, 1 as sign
    from jsonb_array_elements($1::jsonb) it
    join order_summary o on o.order_id = (it ->> 0)::uuid
    where it ->> 1 = 'order'
    union all
    select r.placed_at, r.lines, -1
    from jsonb_array_elements($1::jsonb) it
    join return_summary r on r.return_id = (it ->> 0)::uuid
    where it ->> 1 = 'return'
) moved
cross join jsonb_array_elements(moved.lines) l
group by 1, 2
order by 1, 2
on conflict (day, product) do update
set quantity = s.quantity + excluded.quantity, revenue = s.revenue + excluded.revenue
