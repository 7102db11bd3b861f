-- All sales by day and product. A scan. No lock; a read.
select day::text, product, quantity, revenue from sales_by_day
