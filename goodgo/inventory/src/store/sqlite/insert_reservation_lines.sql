-- The lines of a reservation, [product, quantity] each: one statement for all of them.
-- Index: the primary key. Lock: the database's write lock is held already. Repeat: fails by the primary key.
insert into reservation_line (reservation_key, product, quantity)
select ?1, value ->> 0, value ->> 1 from json_each(?2)
