-- Compare and set: writes a record only where it is still the one that was seen (owner, state, lease, login).
-- Index: the primary key. Lock: the row's, until the transaction ends. A repeat changes no row.
update idempotency_record
set owner = $2, state = $3, since = $4, expires_at = $5, fingerprint = $6, scope = $7, subject = $8, login = $9,
    forgotten = $10, attempt = $11, unsure = $12, claimed_at = $13, status = $14, headers = $15, body = $16
where id = $1 and owner = $17 and state = $18 and ($19::bigint is null or since = $19) and forgotten = $20
