-- Many records at once. Index: the primary key. Lock: none. Reads only.
select r.id, r.owner, r.state, r.since, r.expires_at, r.fingerprint, r.scope, r.subject, r.login, r.forgotten, r.attempt,
    r.unsure, r.claimed_at, r.status, r.headers, r.body
from json_each(?1) as e cross join idempotency_record as r on r.id = unhex(e.value)
