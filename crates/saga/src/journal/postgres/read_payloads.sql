-- What sagas were started with, and the keys of what is sealed in it (primary keys of `saga_payload` and `saga_key`, looked
-- up for each of the given numbers). No lock; a read.
select p.saga_no, p.input, p.context, k.wrapped
from unnest($1::bigint[]) as r (no) join saga_payload p on p.saga_no = r.no left join saga_key k on k.saga_no = r.no
