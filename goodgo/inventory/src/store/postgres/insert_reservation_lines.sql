-- The lines of a reservation, [product, quantity] each: one statement for all of them.
-- Index: the primary key. Lock: none beyond the new rows. Repeat: fails by the primary key.
insert into reservation_line (reservation_key, product, quantity)
select $1, value ->> 0, (value ->> 1)::bigint from jsonb_array_elements($2::jsonb)
