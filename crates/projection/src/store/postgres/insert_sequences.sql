-- Creates the rows of aggregates that are met for the first time, and says which: they are locked with that.
-- Index: the primary key, in its order. Lock: the new rows; it waits for another who makes the same one.
-- Repeat: a row that exists stays as it is, and is locked by the next look.
insert into aggregate_sequence (projection, aggregate_type, aggregate_id, last)
select $1, aggregate_type, aggregate_id, 0
from unnest($2::text[], $3::text[]) as fresh (aggregate_type, aggregate_id)
order by aggregate_type collate "C", aggregate_id collate "C"
on conflict (projection, aggregate_type, aggregate_id) do nothing
returning aggregate_type, aggregate_id
