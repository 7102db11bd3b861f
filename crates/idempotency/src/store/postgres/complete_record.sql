-- The owner of a pending claim stores its answer.
-- Index: the primary key or idempotency_record_open. Lock: the row's, until the end of this statement's transaction. A repeat, a late finisher and
-- a record whose login has ended change no row; the decision says which it was.
update idempotency_record
set state = $3, since = clock.now, expires_at = clock.now + $4, status = $5, headers = $6, body = $7
from (select (extract(epoch from clock_timestamp()) * 1000)::bigint as now) as clock
where id = $1 and owner = $2 and state = 0 and not forgotten
