-- Books a movement of money. Index: appended; ledger_return is checked. Lock: none beyond the new row.
-- Repeat: would book twice; it runs in the transaction of the barrier's or the idempotency record.
insert into ledger (kind, order_id, return_id, customer, amount, reference, reason, at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
