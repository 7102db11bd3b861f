-- A captured payment, unless there is one for the order already.
-- Index: appended by rowid; the unique order_id is checked. Lock: the database's write lock is held already.
-- Repeat: no row is written.
insert into payment (id, order_id, customer, amount, refunded, status, version, captured_at)
values (?1, ?2, ?3, ?4, 0, 'captured', 1, ?5)
on conflict (order_id) do nothing
