-- The sealed keys of sagas with sensitive input, in the transaction of their start (primary key of `saga_key`). Under the
-- writer's lock. A repeat fails on the key.
insert into saga_key (saga_no, wrapped)
select r.value ->> 0, r.value ->> 1
from json_each(?1) as r
