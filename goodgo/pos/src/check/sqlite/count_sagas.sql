-- All sagas. A scan. No lock; a read.
select count(*) from saga
