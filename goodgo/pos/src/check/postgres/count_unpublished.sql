-- Events that wait. A scan. No lock; a read.
select count(*) from outbox where published_at is null
