-- Starts. The unique index on `id` decides: a known saga is left as it is and not returned. Under the writer's lock.
-- A repeat inserts nothing.
insert into saga
    (id, definition, version, status, held, overdue, lane, wake_at, business_key, principal, started_at, ended_at, cause)
select
    unhex(r.value ->> 0), r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 5, r.value ->> 12,
    r.value ->> 6, r.value ->> 7, r.value ->> 8, r.value ->> 9, r.value ->> 10, r.value ->> 11
from json_each(?1) as r
where true
on conflict (id) do nothing
returning no, id
