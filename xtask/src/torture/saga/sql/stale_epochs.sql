-- A row under an older epoch behind one under a newer: written by an owner that had lost its lane.
select format('saga %s, row %s: epoch %s after %s', saga_no, seq, epoch, former)
from (
    select saga_no, seq, epoch, lag(epoch) over (partition by saga_no order by seq) as former from saga_journal
) rows
where epoch < former
