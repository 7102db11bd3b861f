-- Removes events that have left the parking.
-- Index: the primary key. Lock: the rows; their aggregates are locked. Repeat: removes nothing.
delete from parked_event as p
using unnest($2::text[], $3::text[], $4::bigint[]) as done (aggregate_type, aggregate_id, sequence)
where p.projection = $1
  and p.aggregate_type = done.aggregate_type
  and p.aggregate_id = done.aggregate_id
  and p.sequence = done.sequence
