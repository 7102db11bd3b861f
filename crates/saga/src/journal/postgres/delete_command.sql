-- By primary key of `saga_command`. A repeat deletes nothing.
delete from saga_command where no = $1
