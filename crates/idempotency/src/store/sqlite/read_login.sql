-- The records that end with a login. Index: idempotency_record_login. Lock: none. Reads only.
select id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body
from idempotency_record
where subject = ?1 and login = ?2
