-- Remembers that a consumer applies an event. Index: primary key. Lock: the one writer's.
-- Repeat: inserts nothing, which is the answer.
insert into inbox (consumer, event_id, received_at) values (?1, ?2, unixepoch() * 1000) on conflict do nothing
