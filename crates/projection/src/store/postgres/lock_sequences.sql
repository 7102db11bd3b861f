-- How far the aggregates of a batch have been applied; from here to the end of the transaction nobody else moves them.
-- The keys come sorted, and are looked up in their order.
-- Index: the primary key, once per aggregate; lateral, so that no plan made of old statistics reads the whole table.
-- Lock: the rows, in the order of the key. Repeat: reads the same.
select s.aggregate_type, s.aggregate_id, s.last, s.event_id
from unnest($2::text[], $3::text[]) as wanted (aggregate_type, aggregate_id)
cross join lateral (
    select a.aggregate_type, a.aggregate_id, a.last, a.event_id
    from aggregate_sequence as a
    where a.projection = $1
      and a.aggregate_type = wanted.aggregate_type
      and a.aggregate_id = wanted.aggregate_id
    for no key update
) as s
