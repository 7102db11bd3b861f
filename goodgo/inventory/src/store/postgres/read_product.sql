-- A product as it is shown and edited. Index: the primary key. Lock: none. Repeat: reads only.
select product, description, price, version from product where product = $1
