-- The first answer stands (primary key of `saga_command`). A repeat changes nothing.
update saga_command set answer = $2 where no = $1 and answer is null
