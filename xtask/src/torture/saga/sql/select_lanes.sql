-- Those that were given up too: their next epoch tells of a new owner.
select
    l.lane,
    l.node as owner,
    l.epoch,
    exists (select from saga s where s.lane = l.lane and s.status in ('pending', 'running', 'compensating')) as busy
from lane_lease l
