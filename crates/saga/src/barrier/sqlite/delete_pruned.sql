-- Removes rows of sagas behind the horizon, from the oldest arrivals on, at most a batch.
-- Index: rowid order for the batch, so the work is bounded by it whatever the table holds. A row that a younger saga
-- left among the oldest stays until the horizon has passed it.
-- Lock: the database's write lock is held already. Repeat: takes the next batch.
delete from saga_barrier
where no in (select no from saga_barrier order by no limit ?1)
  and started_at < (select started_before from saga_barrier_horizon where id = 1)
