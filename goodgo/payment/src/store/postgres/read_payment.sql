-- The payment for an order. Index: the unique order_id. Lock: none. Repeat: reads only.
select id, customer, amount, refunded, status, version from payment where order_id = $1
