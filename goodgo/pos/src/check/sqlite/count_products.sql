-- All products. A scan. No lock; a read.
select count(*) from product
