-- Lets the aggregates of these events go on, and lowers the low-water mark of lane $2 below them: what they held back
-- may stand below it. Index: a scan of the few that are held back; primary key.
-- Lock: the rows, after the epoch was compared in this transaction. Repeat: changes nothing.
with released as (
    delete from outbox_parked where event = any($1) returning event, day
)
update outbox_lane l
set mark = least(l.mark, r.event - 1), mark_day = least(l.mark_day, r.day), read_to = least(l.read_to, r.event - 1)
from (select min(event) as event, min(day) as day from released) r
where l.lane = $2 and r.event is not null
returning l.mark
