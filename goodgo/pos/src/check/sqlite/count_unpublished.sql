-- Events that wait (index outbox_unpublished). No lock; a read.
select count(*) from outbox where published_at is null
