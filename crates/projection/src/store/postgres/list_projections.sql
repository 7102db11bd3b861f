-- The projections that have run here. Index: the unique name's. Lock: none. Repeat: reads the same.
select name from projection order by name
