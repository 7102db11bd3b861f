-- Extends the lease and moves the low-water mark, and fences: no row means that another relay has the lane. The mark is
-- moved only if it is the one that this relay knows: else somebody has lowered it, and the answer says to where.
-- Index: primary key. Lock: the lane's row, so that nobody can take the lane before this commits. Repeat: extends again.
update outbox_lane
set lease_until = clock_timestamp() + $3 * interval '1 millisecond',
    mark = case when mark = $4 then greatest(mark, $5) else mark end,
    mark_day = case when mark = $4 then greatest(mark_day, date '2000-01-01' + $6::integer) else mark_day end,
    read_to = greatest(read_to, $7)
where lane = $1 and epoch = $2
returning mark
