-- All lines of a return in one statement, from a JSON array.
-- Index: the primary key. Lock: the database's write lock is held already. Repeat: fails by the primary key.
insert into return_line (return_key, line, product, description, quantity, unit_price, stocked)
select ?1, key + 1, value ->> 'product', value ->> 'description', value ->> 'quantity', value ->> 'unit_price',
       value ->> 'stocked'
from json_each(?2)
