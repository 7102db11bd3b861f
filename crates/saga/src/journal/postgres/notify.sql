-- Wakes who listens, in a transaction of its own: within another it would make all commits that notify queue on one lock.
select pg_notify('saga', '')
