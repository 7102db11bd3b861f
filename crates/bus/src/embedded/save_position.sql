-- Moves a named position forward, never back. Index: the primary key. Lock: the one writer's.
-- Repeat: changes nothing.
insert into event_log_position (name, partition, position)
select ?1, value ->> 0, value ->> 1 from json_each(?2) where true
on conflict (name, partition) do update set position = excluded.position
where excluded.position > event_log_position.position
