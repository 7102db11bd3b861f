-- The parked events of a batch's aggregates, in order; bodies only of aggregates that no poison event holds. It is a
-- later statement than the one that locked the sequences, so that it sees what a writer parked who held them before.
-- Index: the primary key's prefix, once per aggregate (lateral); where nothing is parked, one look. Lock: none, the
-- aggregates are locked. Repeat: reads the same.
select p.aggregate_type, p.aggregate_id, p.sequence, p.event_id, p.state, p.parked_at,
       case when bool_or(p.state = 'poison') over (partition by p.aggregate_type, p.aggregate_id) then null
            else p.event end
from unnest($2::text[], $3::text[]) as wanted (aggregate_type, aggregate_id)
cross join lateral (
    select *
    from parked_event as e
    where e.projection = $1
      and e.aggregate_type = wanted.aggregate_type
      and e.aggregate_id = wanted.aggregate_id
    offset 0
) as p
where exists (select from parked_event where projection = $1)
order by p.aggregate_type, p.aggregate_id, p.sequence
