-- Lists products that are not there yet, [product, description, price, quantity] each, and says which they were.
-- Index: the primary key. Lock: waits for a transaction that is listing the same one; in the order of their codes, so that two
-- with the same products wait for each other. Repeat: what is there stays, nothing is said.
insert into product (product, description, price, version)
select distinct on (value ->> 0) value ->> 0, value ->> 1, (value ->> 2)::bigint, 1
from jsonb_array_elements($1::jsonb) with ordinality as it (value, line)
order by value ->> 0, line
on conflict (product) do nothing
returning product
