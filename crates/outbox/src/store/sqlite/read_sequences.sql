-- The numbers of one aggregate's events in order of id; for a checker. Index: none. Lock: none. Repeat: reads the same.
select sequence from outbox where aggregate_type = ? and aggregate_id = ? order by id
