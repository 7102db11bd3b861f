-- After a lost acknowledgement: what stands of the rows that this very append would write. By `saga_id` and the journal's
-- primary key. In a transaction that has locked the lane's row against the append whose answer was lost, in a statement
-- begun after that; so what stands is all that will.
select r.place, s.no, coalesce(s.lane = $3, false) as mine, j.epoch, j.entries
from unnest($1::text[], $2::integer[]) with ordinality as r (id, seq, place)
join saga s on s.id = r.id::uuid
left join saga_journal j on j.day = (s.started_at / 86400000)::integer and j.saga_no = s.no and j.seq = r.seq
