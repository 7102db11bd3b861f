-- The journals of the given sagas, each in order (a range of the primary key of `saga_journal`, in the one partition of its
-- day, for each). No lock; a read.
select j.saga_no, j.seq, j.epoch, j.at, j.entries
from unnest($1::integer[], $2::bigint[]) as r (day, no) join saga_journal j on j.day = r.day and j.saga_no = r.no
order by j.saga_no, j.seq
