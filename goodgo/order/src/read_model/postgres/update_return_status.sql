-- Where returns stand, [id, status] each. Index: the unique return_id. Lock: the returns' rows. Repeat: sets the same again.
update return_summary r set status = it ->> 1
from jsonb_array_elements($1::jsonb) it
where r.return_id = (it ->> 0)::uuid
