-- A statement that holds a transaction id and a snapshot for so many seconds.
select pg_current_xact_id()::text, pg_sleep($1)
