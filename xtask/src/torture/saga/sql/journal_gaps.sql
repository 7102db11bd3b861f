-- Of each saga the numbers 0 or 1 to their count, none missing, none twice.
select format('saga %s has %s rows, numbered %s to %s', saga_no, count(*), min(seq), max(seq))
from saga_journal
group by saga_no
having max(seq) - min(seq) + 1 <> count(*) or min(seq) not in (0, 1) or count(distinct seq) <> count(*)
