-- The first answer stands (primary key of `saga_command`). Under the writer's lock; a repeat changes nothing.
update saga_command set answer = ?2 where no = ?1 and answer is null
