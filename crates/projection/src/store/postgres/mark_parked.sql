-- Brings the rest of aggregates' parked events in line: behind a poison event, or waiting again ($4).
-- Index: the primary key's prefix. Lock: the rows; their aggregates are locked. Repeat: no change.
update parked_event as p
set state = $4
from unnest($2::text[], $3::text[]) as wanted (aggregate_type, aggregate_id)
where p.projection = $1
  and p.aggregate_type = wanted.aggregate_type
  and p.aggregate_id = wanted.aggregate_id
  and p.state in ('waiting', 'behind', 'retry')
  and p.state <> $4
