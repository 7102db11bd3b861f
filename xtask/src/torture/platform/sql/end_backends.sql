-- Ends what a role has open, whatever it is doing.
select pg_terminate_backend(pid) from pg_stat_activity where usename = $1
