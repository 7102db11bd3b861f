-- Promises one of the product ($2) to each order ($1).
insert into reservation (order_id, product, quantity) select order_id, $2, 1 from unnest($1::uuid[]) as wanted (order_id)
