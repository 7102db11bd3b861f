-- Takes up to $3 lanes under new epochs: those whose lease has ended by the database's clock or, with $4, which an earlier
-- life of this node has.
-- Index: primary key. Lock: those lanes' rows, in order. Repeat: takes further epochs, which fence the first.
update outbox_lane
set epoch = epoch + 1, node = $1, lease_until = clock_timestamp() + $2 * interval '1 millisecond'
where lane in (
    select c.lane from outbox_lane c
    where c.lease_until <= clock_timestamp() or ($4 and c.node = $1)
    order by c.lane
    limit $3
    for update
)
returning lane, epoch
