-- The lines of every return. A scan of the primary key. No lock; a read.
select return_key, product, quantity, unit_price from return_line order by return_key, line
