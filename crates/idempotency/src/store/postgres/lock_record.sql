-- Whether this transaction is the only one that executes under this key, and the record, where there is one.
-- Index: the primary key. Lock: an advisory one until the transaction ends, never waited for. Another transaction may
-- commit between this statement's snapshot and the lock: then the record is not seen here, and the unique key refuses the
-- insert at the end. Reads only.
select id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body, pg_try_advisory_xact_lock($2)
from (select 1) as one left join idempotency_record on id = $1
