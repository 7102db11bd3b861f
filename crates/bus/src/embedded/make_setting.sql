-- Fixes the number of partitions of a new log. Lock: the one writer's. Repeat: keeps the first.
insert into event_log_setting (id, partitions) values (1, ?) on conflict (id) do nothing
