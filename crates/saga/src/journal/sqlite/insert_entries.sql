-- One row per saga: what happened to it since its last row. Primary key (day, saga_no, seq) of `saga_journal`; under the
-- writer's lock. A repeat fails on the key, so that no entry stands twice; a row whose predecessor is missing is not
-- inserted, which the caller counts.
insert into saga_journal (day, saga_no, seq, epoch, at, entries)
select r.value ->> 0, r.value ->> 1, r.value ->> 2, ?2, ?3, r.value -> 3
from json_each(?1) as r
where r.value ->> 2 = 1 or exists (
    select 1 from saga_journal j
    where j.day = r.value ->> 0 and j.saga_no = r.value ->> 1 and j.seq = (r.value ->> 2) - 1
)
