-- All lines of a return in one statement, from a JSON array.
-- Index: the primary key. Lock: none beyond the new rows. Repeat: fails by the primary key.
insert into return_line (return_key, line, product, description, quantity, unit_price, stocked)
select $1, line, it ->> 'product', it ->> 'description', (it ->> 'quantity')::bigint, (it ->> 'unit_price')::bigint,
       (it ->> 'stocked')::boolean
from jsonb_array_elements($2::jsonb) with ordinality as lines (it, line)
