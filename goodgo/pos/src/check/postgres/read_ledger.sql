-- Every movement of money. A scan. No lock; a read.
select customer, kind, uuid_send(order_id), amount from ledger order by entry_no
