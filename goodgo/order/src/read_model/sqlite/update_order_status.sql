-- Where orders stand, [id, status] each. Index: the unique order_id. Lock: the write lock is held already.
-- Repeat: sets the same again.
update order_summary set status = e.value ->> 1
from json_each(?1) e
where order_id = unhex(e.value ->> 0)
