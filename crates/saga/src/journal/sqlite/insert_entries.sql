-- One row per saga: what happened to it since its last row. Primary key (day, saga_no, seq) of `saga_journal`; under the
-- writer's lock. A repeat fails on the key, so that no entry stands twice.
insert into saga_journal (day, saga_no, seq, epoch, at, entries)
select r.value ->> 0, r.value ->> 1, r.value ->> 2, ?2, ?3, r.value -> 3
from json_each(?1) as r
