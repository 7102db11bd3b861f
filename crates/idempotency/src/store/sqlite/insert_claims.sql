-- Claims many records at once; those that exist already are left as they are and do not come back.
-- Index: the primary key. Lock: the database's one write lock, which the caller holds. A repeat finds its own token in
-- the row and is told so by the decision.
insert into idempotency_record
    (id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at)
select unhex(value ->> 0), unhex(value ->> 1), 0, value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, 1, 0, value ->> 9
from json_each(?1)
where true
on conflict (id) do nothing
returning owner
