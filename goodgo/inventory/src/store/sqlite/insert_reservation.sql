-- Promises stock to an order, unless something is promised to it already.
-- Index: appended by rowid; the unique order_id is checked. Lock: the database's write lock is held already.
-- Repeat: no row comes back.
insert into reservation (order_id, status, version, created_at) values (?1, 'reserved', 1, ?2)
on conflict (order_id) do nothing
returning key
