-- After a lost acknowledgement: the row that this very append would write, if it was written. By the unique index on
-- `saga.id` and the journal's primary key; no lock.
select j.epoch, j.entries, s.no, s.lane = ?3 as mine
from saga s join saga_journal j on j.day = s.started_at / 86400000 and j.saga_no = s.no
where s.id = ?1 and j.seq = ?2
