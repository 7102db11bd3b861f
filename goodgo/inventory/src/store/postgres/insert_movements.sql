-- Books changes of what is on hand, [product, signed quantity] each.
-- Index: appended. Lock: none beyond the new rows.
-- Repeat: would book twice; it runs in the transaction of the barrier's or the idempotency record.
insert into stock_movement (product, kind, quantity, order_id, return_id, reference, reason, at)
select value ->> 0, $2, (value ->> 1)::bigint, $3, $4, $5, $6, $7 from jsonb_array_elements($1::jsonb)
