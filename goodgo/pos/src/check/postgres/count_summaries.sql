-- All orders as queries see them. A scan. No lock; a read.
select count(*) from order_summary
