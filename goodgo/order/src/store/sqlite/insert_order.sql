-- An order, unless its id is taken.
-- Index: appended by rowid; the unique id is checked. Lock: the database's write lock is held already.
-- Repeat: no row comes back.
insert into orders (id, order_no, customer, placed_at, total, currency, status, returned, version, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, 'created', 0, 1, ?7)
on conflict (id) do nothing
returning key
