-- Opens the stock of products that were just listed, [product, description, price, quantity] each.
-- Index: the primary key. Lock: the database's write lock is held already. Repeat: fails by the primary key.
insert into stock (product, on_hand, reserved, version)
select value ->> 0, value ->> 3, 0, 1 from json_each(?1)
