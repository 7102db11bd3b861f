-- Erases the key of one saga, unless the saga is executing: by the unique index on `saga.id` and the primary key of
-- `saga_key`, under the writer's lock, so that the state cannot change in between. A repeat deletes nothing.
delete from saga_key
where saga_no = (select no from saga where id = ?1 and status not in ('pending', 'running', 'compensating'))
