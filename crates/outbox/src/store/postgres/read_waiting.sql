-- When events that wait were written, the oldest first: those that hold an aggregate back, and in each bucket the first
-- $1 from shortly behind where its lane has read to, since few come later than that.
-- Index: outbox_bucket_id. Lock: none. Repeat: reads the same.
select w.created_at
from (
    select first.created_at
    from outbox_lane l
    cross join lateral generate_series(l.first_bucket::integer, l.last_bucket::integer) b
    cross join lateral (
        select o.created_at
        from outbox o
        where o.bucket = b and o.id > greatest(l.mark, l.read_to - 20000) and o.day >= l.mark_day - 1
          and o.day <= (now() at time zone 'UTC')::date + 1
          and o.published_at is null
        order by o.id
        limit $1
    ) first
    union all
    select p.created_at from outbox_parked p
) w
order by 1
limit $2
