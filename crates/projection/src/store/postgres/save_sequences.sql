-- Moves aggregates forward. Their rows are there and locked; an upsert finds each by the key, whatever the statistics say.
-- Index: the primary key; no indexed column changes. Lock: held already. Repeat: a number never moves back.
insert into aggregate_sequence as s (projection, aggregate_type, aggregate_id, last, event_id)
select $1, aggregate_type, aggregate_id, last, event_id
from unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[]) as moved (aggregate_type, aggregate_id, last, event_id)
on conflict (projection, aggregate_type, aggregate_id)
do update set last = excluded.last, event_id = excluded.event_id
where s.last < excluded.last
