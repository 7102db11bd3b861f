-- The journal's partitions of the next days. Locks the default partition for a moment, and gives up where it would wait for
-- more than a second. A repeat makes what is missing.
select saga_make_partitions($1, $2)
