-- Lists products that are not there yet, [product, description, price, quantity] each, and says which they were.
-- Index: the primary key. Lock: the database's write lock is held already. Repeat: what is there stays, nothing is said.
insert into product (product, description, price, version)
select value ->> 0, value ->> 1, value ->> 2, 1 from json_each(?1) where true
on conflict (product) do nothing
returning product
