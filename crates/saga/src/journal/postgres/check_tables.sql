-- Whether the tables are there, in which version, and whether the outbox's function is. No lock; a read.
select
    to_regclass('steadfast_migration') is not null as migrated,
    to_regprocedure('outbox_append_many(jsonb)') is not null as outbox
