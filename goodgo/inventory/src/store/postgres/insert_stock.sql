-- Opens the stock of products that were just listed, [product, description, price, quantity] each.
-- Index: the primary key. Lock: none beyond the new rows. Repeat: fails by the primary key.
insert into stock (product, on_hand, reserved, version)
select value ->> 0, (value ->> 3)::bigint, 0, 1 from jsonb_array_elements($1::jsonb)
