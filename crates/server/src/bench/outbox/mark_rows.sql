-- As the relay's mark, without its lane and its lease: the arrays are buckets, ids and days since 2000.
update outbox o set published_at = clock_timestamp()
from unnest($1::smallint[], $2::bigint[], $3::integer[]) m (bucket, id, day)
where o.bucket = m.bucket and o.id = m.id and o.day = date '2000-01-01' + m.day and o.published_at is null
