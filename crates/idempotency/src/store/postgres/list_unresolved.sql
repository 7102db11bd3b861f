-- Records whose outcome nobody knows: ended unknown, or a lease that is over. Index: idempotency_record_open. Lock:
-- none. Reads only.
select id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body
from idempotency_record, (select (extract(epoch from clock_timestamp()) * 1000)::bigint as now) as clock
where state < 2 and id > $1 and (state = 1 or since <= clock.now) and (expires_at is null or expires_at > clock.now)
order by id
limit $2
