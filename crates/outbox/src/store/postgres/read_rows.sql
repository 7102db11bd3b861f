-- The next events that wait, bucket after bucket, in order within each, without those of aggregates that are held back.
-- $1, $2: buckets and the id after which to read each; $3: the last id; $4, $5: days since 2000, before and after which
-- nothing is; $6: events of a bucket; $7: events in all.
-- Index: outbox_bucket_id of the partitions of those days. Lock: none. Repeat: reads what still waits.
select o.id, o.bucket, o.day, o.previous_id, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.sequence, o.payload,
       o.headers, o.created_at
from unnest($1::smallint[], $2::bigint[]) b (bucket, after)
cross join lateral (
    select e.*
    from outbox e
    where e.bucket = b.bucket and e.id > b.after and e.id <= $3 and e.published_at is null
      and e.day between date '2000-01-01' + $4::integer and date '2000-01-01' + $5::integer
      and not exists (
          select from outbox_parked p where p.aggregate_type = e.aggregate_type and p.aggregate_id = e.aggregate_id
      )
    order by e.id
    limit $6
) o
limit $7
