-- The sales of a day. Index: a range of the primary key. Lock: none. Repeat: reads only.
select product, quantity, revenue from sales_by_day where day = ?1 order by product
