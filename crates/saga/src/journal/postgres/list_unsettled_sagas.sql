-- A page of what is executing, newest first (index saga_lane, as many entries as there are sagas in flight). No lock; a read.
select s.no, uuid_send(s.id) as id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
from saga s
where s.lane is not null and s.no + 0 < $1
    and ($2::text is null or s.definition = $2)
    and ($3::text is null or s.status = $3)
    and ($4::text is null or s.business_key = $4)
    and ($5::bigint is null or s.started_at >= $5)
order by s.no + 0 desc
limit $6
