-- How many rows the outbox has, without counting: ids have no gaps but for what was deleted. Index: the right edge of the
-- rowid. Lock: none. Repeat: reads the same.
select coalesce((select max(id) from outbox), 0) - (select amount from outbox_deleted where id = 1),
       (select count(*) from outbox_parked)
