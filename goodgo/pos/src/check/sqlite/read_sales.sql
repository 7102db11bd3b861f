-- All sales by day and product. A scan. No lock; a read.
select day, product, quantity, revenue from sales_by_day
