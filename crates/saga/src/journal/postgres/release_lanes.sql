-- Gives lanes up, where they still are the giver's (primary key of `lane_lease`). A repeat changes nothing.
update lane_lease l
set released = true, until = least(l.until, clock_timestamp())
from unnest($1::bigint[], $2::bigint[]) as r (lane, epoch)
where l.lane = r.lane and l.epoch = r.epoch and not l.released
