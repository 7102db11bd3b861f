-- Ends what the services have open, whatever it is doing.
select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'charges'
