-- By primary key of `saga_command`. Under the writer's lock; a repeat deletes nothing.
delete from saga_command where no = ?1
