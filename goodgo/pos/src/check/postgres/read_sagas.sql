-- Every saga with what names its order or return, and, of a parked one, its journal commit by commit as a JSON array.
-- Index: saga_no and the primary keys of saga_payload and saga_journal (a range of it, by the day of the start). No lock; a
-- read.
select uuid_send(s.id), s.definition, s.status, s.started_at, s.ended_at, s.business_key,
    coalesce(p.input::json ->> 'order_id', ''), coalesce(p.input::json ->> 'return_id', ''),
    case when s.parked then (
        select json_agg(j.entries order by j.seq)::text
        from saga_journal j
        where j.day = (s.started_at / 86400000)::integer and j.saga_no = s.no
    ) end
from saga s join saga_payload p on p.saga_no = s.no
order by s.no
