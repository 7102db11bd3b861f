-- Compare and set: removes a record only where it is still the one that was seen (owner, state, lease, login).
-- Index: the primary key. Lock: the database's one write lock, which the caller holds. A repeat changes no row.
delete from idempotency_record
where id = ?1 and owner = ?2 and state = ?3 and (?4 is null or since = ?4) and forgotten = ?5
