-- What sagas were started with (primary key of `saga_payload`, looked up for each of the given numbers). No lock; a read.
select p.saga_no, p.input, p.context
from json_each(?1) as r join saga_payload p on p.saga_no = r.value ->> 1
