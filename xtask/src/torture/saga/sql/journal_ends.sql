-- A saga's row names the last row of its journal.
select format('saga %s ends at row %s, its journal at %s', s.no, s.seq, j.last)
from saga s left join (select saga_no, max(seq) as last from saga_journal group by saga_no) j on j.saga_no = s.no
where j.last is distinct from s.seq
