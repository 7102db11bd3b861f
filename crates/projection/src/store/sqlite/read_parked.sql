-- The parked events of a batch's aggregates, in order; bodies only of aggregates that no poison event holds. It is a
-- later statement than the one that read the sequences, so that it sees what a writer parked who held them before.
-- Index: the primary key's prefix, once per aggregate (cross join, or SQLite would read the whole table).
-- Lock: the writer's. Repeat: reads the same.
select p.aggregate_type, p.aggregate_id, p.sequence, p.event_id, p.state, p.parked_at,
       case when exists (
           select 1 from parked_event as poison
           where poison.projection = ?1 and poison.aggregate_type = p.aggregate_type
             and poison.aggregate_id = p.aggregate_id and poison.state = 'poison'
       ) then null else p.event end
from json_each(?2) as wanted
cross join parked_event as p
where p.projection = ?1 and p.aggregate_type = wanted.value ->> 0 and p.aggregate_id = wanted.value ->> 1
order by p.aggregate_type, p.aggregate_id, p.sequence
