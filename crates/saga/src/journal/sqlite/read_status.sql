-- Where one saga stands (unique index on `saga.id`). In the transaction of the caller; a read.
select status from saga where id = ?1
