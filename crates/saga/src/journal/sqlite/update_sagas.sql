-- What the journal folds to, by primary key of `saga`, under the writer's lock, in the transaction of the entries; only where
-- the saga is in this lane, or rests and its next row is this one (primary key of `saga_journal`), so that what is not
-- returned is not written either. A repeat writes the same values.
update saga
set status = r.value ->> 1, held = r.value ->> 2, overdue = r.value ->> 3, wake_at = r.value ->> 4,
    ended_at = r.value ->> 5, cause = r.value ->> 6, lane = r.value ->> 7
from json_each(?1) as r
where saga.no = r.value ->> 0
    and (
        saga.lane = ?2
        or (
            saga.lane = 0 and saga.status not in ('pending', 'running', 'compensating') and (
                select max(j.seq) from saga_journal j where j.day = r.value ->> 8 and j.saga_no = saga.no
            ) = (r.value ->> 9) - 1
        )
    )
returning no
