-- Returns that were recorded, from JSON objects. Index: the unique return_id. Lock: the write lock is held already.
-- Repeat: what is there stays.
insert into return_summary (return_id, return_no, order_id, placed_at, amount, status, lines)
select unhex(value ->> 'id'), value ->> 'return_no', unhex(value ->> 'order'), value ->> 'placed_at', value ->> 'amount',
       'recorded', value -> 'lines'
from json_each(?1) where true
on conflict (return_id) do nothing
