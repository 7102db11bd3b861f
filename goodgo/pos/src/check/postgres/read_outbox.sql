-- Every event of an outbox. A scan. No lock; a read.
select uuid_send(event_id), aggregate_type || '/' || aggregate_id, sequence from outbox order by id
