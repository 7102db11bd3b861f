-- The lines of every order. A scan of the primary key. No lock; a read.
select order_key, product, quantity, unit_price from order_line order by order_key, line
