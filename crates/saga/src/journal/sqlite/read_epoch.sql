-- The fence: by primary key of `lane`, in the transaction that writes, which holds the one writer's lock; so nobody can
-- take the lane between this and the commit.
select epoch from lane where id = ?1
