-- Creates the rows of aggregates that are met for the first time. Before any row is locked: whoever held one and waited here
-- for another who makes the same row would be waited for by a third.
-- Index: the primary key, once per aggregate to look (`limit`, so that no plan made of old statistics reads the whole table)
-- and once to insert. Lock: the new rows, in the order of the key; it waits for another who makes the same one.
-- Repeat: a row that exists stays as it is.
insert into aggregate_sequence (projection, aggregate_type, aggregate_id, last)
select $1, wanted.aggregate_type, wanted.aggregate_id, 0
from unnest($2::text[], $3::text[]) as wanted (aggregate_type, aggregate_id)
left join lateral (
    select a.last
    from aggregate_sequence as a
    where a.projection = $1
      and a.aggregate_type = wanted.aggregate_type
      and a.aggregate_id = wanted.aggregate_id
    limit 1
) as s on true
where s.last is null
order by wanted.aggregate_type collate "C", wanted.aggregate_id collate "C"
on conflict (projection, aggregate_type, aggregate_id) do nothing
