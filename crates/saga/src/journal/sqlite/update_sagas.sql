-- What the journal folds to, by primary key of `saga`, under the writer's lock, in the transaction of the entries; only
-- by the lane that owns the saga. A repeat writes the same values.
update saga
set status = r.value ->> 1, held = r.value ->> 2, overdue = r.value ->> 3, wake_at = r.value ->> 4,
    ended_at = r.value ->> 5, cause = r.value ->> 6
from json_each(?1) as r
where saga.no = r.value ->> 0 and saga.lane = ?2
