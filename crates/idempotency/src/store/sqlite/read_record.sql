-- One record. Index: the primary key. Lock: none. Reads only.
select id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body
from idempotency_record
where id = ?1
