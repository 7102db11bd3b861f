-- Every return as queries see it. A scan. No lock; a read.
select return_id, return_no, order_id, placed_at, amount, status, lines from return_summary order by key
