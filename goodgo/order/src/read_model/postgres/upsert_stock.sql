-- What is there of products, [product, on_hand, reserved] each, every product once.
-- Index: the primary key. Lock: the products' rows, in their order. Repeat: sets the same again.
insert into stock_on_hand (product, on_hand, reserved)
select it ->> 0, (it ->> 1)::bigint, (it ->> 2)::bigint from jsonb_array_elements($1::jsonb) it
order by 1
on conflict (product) do update set on_hand = excluded.on_hand, reserved = excluded.reserved
