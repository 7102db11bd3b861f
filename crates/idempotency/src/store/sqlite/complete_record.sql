-- The owner of a pending claim stores its answer.
-- Index: the primary key. Lock: the database's one write lock, which the caller holds. A repeat, a late finisher and a
-- record whose login has ended change no row; the decision says which it was.
update idempotency_record
set state = ?3, since = ?4, expires_at = ?5, status = ?6, headers = ?7, body = ?8
where id = ?1 and owner = ?2 and state = 0 and forgotten = 0
