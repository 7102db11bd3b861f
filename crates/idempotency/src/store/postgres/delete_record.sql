-- Compare and set: removes a record only where it is still the one that was seen (owner, state, lease, login).
-- Index: the primary key. Lock: the row's, until the transaction ends. A repeat changes no row.
delete from idempotency_record
where id = $1 and owner = $2 and state = $3 and ($4::bigint is null or since = $4) and forgotten = $5
