-- Claims a record where there is none; ages are reckoned by this server's clock.
-- Index: the primary key. Lock: the new row's, until the end of this statement's transaction. A repeat changes no row,
-- finds its own token in it and is told so by the decision.
insert into idempotency_record
    (id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at)
select $1, $2, 0, clock.now + $3, clock.now + $4, $5, $6, $7, $8, $9, 1, false, clock.now
from (select (extract(epoch from clock_timestamp()) * 1000)::bigint as now) as clock
on conflict (id) do nothing
