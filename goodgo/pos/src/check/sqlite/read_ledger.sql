-- Every movement of money. A scan. No lock; a read.
select customer, kind, order_id, amount from ledger order by entry_no
