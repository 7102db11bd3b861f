select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'steadfast%' and pid <> pg_backend_pid()
