-- What sagas were started with, by their new numbers (primary key of `saga_payload`). Under the writer's lock. A repeat
-- fails on the key.
insert into saga_payload (saga_no, input, context)
select r.value ->> 0, r.value -> 1, r.value -> 2
from json_each(?1) as r
