-- A return, unless its id is taken.
-- Index: appended by rowid; the unique id is checked. Lock: the database's write lock is held already.
-- Repeat: no row comes back.
insert into returns (id, return_no, order_key, customer, placed_at, amount, status, version, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, 'recorded', 1, ?7)
on conflict (id) do nothing
returning key
