-- What is there of products, [product, on_hand, reserved] each, every product once.
-- Index: the primary key. Lock: the write lock is held already. Repeat: sets the same again.
insert into stock_on_hand (product, on_hand, reserved)
select value ->> 0, value ->> 1, value ->> 2 from json_each(?1) where true
on conflict (product) do update set on_hand = excluded.on_hand, reserved = excluded.reserved
