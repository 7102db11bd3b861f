-- A page of the sagas of one business key, newest first (index saga_business_key). No lock; a read.
select s.no, uuid_send(s.id) as id, s.definition, s.version, s.status, s.held, s.overdue, s.wake_at, s.business_key, s.principal,
    s.started_at, s.ended_at, s.cause
from saga s
where s.business_key = $4 and s.no < $1
    and ($2::text is null or s.definition = $2)
    and ($3::text is null or s.status = $3)
    and ($4::text is null or s.business_key = $4)
    and ($5::bigint is null or s.started_at >= $5)
order by s.no desc
limit $6
