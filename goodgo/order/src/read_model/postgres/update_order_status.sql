-- Where orders stand, [id, status] each. Index: the unique order_id. Lock: the orders' rows. Repeat: sets the same again.
update order_summary o set status = it ->> 1
from jsonb_array_elements($1::jsonb) it
where o.order_id = (it ->> 0)::uuid
