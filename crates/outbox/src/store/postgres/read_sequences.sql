-- The numbers of one aggregate's events in order of id; for a checker. Index: none. Lock: none. Repeat: reads the same.
select sequence from outbox where aggregate_type = $1 and aggregate_id = $2 order by id
