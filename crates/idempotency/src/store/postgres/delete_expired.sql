-- Removes the oldest of what has expired; a claim that is still leased stays. Index: idempotency_record_expiry. Lock:
-- the rows' that go, until the end of this statement's transaction; rows that others hold are passed by, so that cleaners
-- do not wait for each other. A repeat finds none.
delete from idempotency_record
where id = any (array(
    select id
    from idempotency_record, (select (extract(epoch from clock_timestamp()) * 1000)::bigint as now) as clock
    where expires_at <= clock.now and (state <> 0 or since <= clock.now)
    order by expires_at
    limit $1
    for update of idempotency_record skip locked
))
