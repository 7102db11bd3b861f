-- By primary key of `saga_command`. No lock; a read.
select answer from saga_command where no = $1
