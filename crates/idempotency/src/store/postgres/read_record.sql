-- One record, and the present moment by this server's clock. Index: the primary key. Lock: none. Reads only.
select id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body,
    (extract(epoch from clock_timestamp()) * 1000)::bigint
from idempotency_record
where id = $1
