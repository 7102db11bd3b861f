-- The records that end with a login. Index: idempotency_record_login. Lock: none. Reads only.
select id
from idempotency_record
where subject = $1 and login = $2
