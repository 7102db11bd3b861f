-- A compare-and-set on a lapsed lease. The lease's row (primary key) decides: of two takers the second meets the first's
-- epoch, and a renewal that was faster is seen. Then the lane's row, behind the appends under way: what they wrote is seen
-- by statements begun after this one, what is appended under the old epoch later is refused. A repeat finds another epoch.
with
leased as (
    update lane_lease l
    set epoch = saga_next_epoch(l.lane, l.epoch), node = $3,
        until = clock_timestamp() + $4 * interval '1 millisecond', released = false
    where l.lane = $1 and l.epoch = $2 and (l.released or l.until <= clock_timestamp())
    returning l.lane, l.epoch
)
update lane l set epoch = b.epoch from leased b where l.id = b.lane returning l.id, l.epoch
