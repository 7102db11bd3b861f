-- A transaction id and a snapshot, under REPEATABLE READ: both last as long as the transaction.
select pg_current_xact_id()::text, count(*) from outbox_trial
