-- In which epoch the lane is held (primary key of `lane`). No lock; a read.
select epoch from lane where id = $1
