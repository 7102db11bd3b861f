-- The newest migration of the line (primary key of `steadfast_migration`). No lock; a read.
select coalesce(max(version), 0) from steadfast_migration where line = $1
