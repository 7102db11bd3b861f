-- Removes what has expired in one stretch of records; neighbours, so that few pages are written. A claim that is still
-- leased stays. Index: the primary key. Lock: the database's one write lock, which the caller holds. A repeat finds none.
delete from idempotency_record
where id > ?1 and id <= ?2 and expires_at <= ?3 and (state <> 0 or since <= ?3)
