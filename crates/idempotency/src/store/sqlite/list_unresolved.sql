-- Records whose outcome nobody knows: ended unknown, or a lease that is over. Index: idempotency_record_open. Lock:
-- none. Reads only.
select id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body
from idempotency_record indexed by idempotency_record_open
where state < 2 and id > ?1 and (state = 1 or since <= ?2) and (expires_at is null or expires_at > ?2)
order by id
limit ?3
