-- Gives a projection its number.
-- Index: projection.name. Lock: the new row. Repeat: the number stays.
insert into projection (name) values ($1) on conflict (name) do nothing
