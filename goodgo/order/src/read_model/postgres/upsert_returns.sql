-- Returns that were recorded, from JSON objects. Index: the unique return_id. Lock: the returns' rows, in their order.
-- Repeat: what is there stays.
insert into return_summary (return_id, return_no, order_id, placed_at, amount, status, lines)
select (it ->> 'id')::uuid, it ->> 'return_no', (it ->> 'order')::uuid, (it ->> 'placed_at')::bigint,
       (it ->> 'amount')::bigint, 'recorded', it -> 'lines'
from jsonb_array_elements($1::jsonb) it
order by 1
on conflict (return_id) do nothing
