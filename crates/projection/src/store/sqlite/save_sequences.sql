-- Moves aggregates forward. ?2 is a JSON array of [type, id, last, event id in hexadecimal or null].
-- Index: the primary key, in its order. Lock: the one writer's. Repeat: a number never moves back.
insert into aggregate_sequence (projection, aggregate_type, aggregate_id, last, event_id)
select ?1, value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3) from json_each(?2) where true
on conflict (projection, aggregate_type, aggregate_id)
do update set last = excluded.last, event_id = excluded.event_id
where excluded.last > aggregate_sequence.last
