-- Counts money into orders, [id, paid, refunded, returned] each, every order once.
-- Index: the unique order_id. Lock: the write lock is held already.
-- Repeat: would count twice; the checkpoint moves in the same transaction.
insert into order_summary (order_id, paid, refunded, returned)
select unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3 from json_each(?1) where true
on conflict (order_id) do update
set paid = paid + excluded.paid, refunded = refunded + excluded.refunded, returned = returned + excluded.returned
