-- All orders. A scan. No lock; a read.
select count(*) from orders
