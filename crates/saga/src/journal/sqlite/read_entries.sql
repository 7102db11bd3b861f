-- The journals of the given sagas, each in order (a range of the primary key of `saga_journal` for each). No lock; a read.
select j.saga_no, j.seq, j.epoch, j.at, j.entries
from json_each(?1) as r join saga_journal j on j.day = r.value ->> 0 and j.saga_no = r.value ->> 1
order by j.saga_no, j.seq
