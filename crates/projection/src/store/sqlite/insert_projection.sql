-- Gives a projection its number.
-- Index: projection.name. Lock: the one writer's. Repeat: the number stays.
insert into projection (name) values (?1) on conflict (name) do nothing
