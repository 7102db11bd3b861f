-- The next stretch of records by name: how many, the last one, and how many of them have expired. Index: the primary key.
-- Lock: none. Reads only.
select count(*), max(id), coalesce(sum(expires_at <= ?2 and (state <> 0 or since <= ?2)), 0)
from (select id, state, since, expires_at from idempotency_record where id > ?1 order by id limit ?3)
