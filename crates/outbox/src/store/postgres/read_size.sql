-- How many rows the outbox has, by the server's statistics, which lag by seconds: counting would read the table.
-- Index: the catalogue's. Lock: none. Repeat: reads the same.
select coalesce(sum(pg_stat_get_live_tuples(i.inhrelid)), 0)::bigint, (select count(*) from outbox_parked)
from pg_inherits i
where i.inhparent = 'outbox'::regclass
