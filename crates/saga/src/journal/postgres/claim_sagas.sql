-- Moves sagas from the queue into the lane, oldest first (index saga_lane), passing over those that another node is claiming.
-- The lane's row under FOR SHARE, as an append has it: who has lost the lane claims nothing. A repeat moves the next ones.
with
fence as materialized (
    select l.id from lane l where l.id = $1 and l.epoch = $2 for share
),
picked as materialized (
    select q.no from saga q
    where q.lane = 0 and exists (select from fence)
    order by q.no + 0
    limit $3
    for update skip locked
)
update saga s set lane = $1
from picked p, fence
where s.no = p.no and s.lane = 0
returning s.no, uuid_send(s.id) as id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
