-- Writes a record where there is none.
-- Index: the primary key. Lock: the new row's, until the transaction ends. A repeat changes no row.
insert into idempotency_record
    (id, owner, state, since, expires_at, fingerprint, scope, subject, login, forgotten, attempt, unsure, claimed_at,
    status, headers, body)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
on conflict (id) do nothing
