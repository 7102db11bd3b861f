-- Lets the aggregates of these events go on. Index: a scan of the few that are held back.
-- Lock: the one writer's, after the epoch was compared in this transaction. Repeat: changes nothing.
delete from outbox_parked where event in (select value from json_each(?))
