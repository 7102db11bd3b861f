-- Where returns stand, [id, status] each. Index: the unique return_id. Lock: the write lock is held already.
-- Repeat: sets the same again.
update return_summary set status = e.value ->> 1
from json_each(?1) e
where return_id = unhex(e.value ->> 0)
