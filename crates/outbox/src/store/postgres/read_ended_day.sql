-- The oldest day that ended before $1 (milliseconds since 1970) and still has a partition, and whether anything in it
-- waits. Index: outbox_bucket_id at best, once a run. Lock: none. Repeat: reads the same.
select to_char(d.day, 'YYYY-MM-DD'), exists (select from outbox o where o.day = d.day and o.published_at is null)
from outbox_ended_days(least((to_timestamp($1 / 1000.0) at time zone 'UTC')::date, 'infinity'::date)) d (day)
order by d.day
limit 1
