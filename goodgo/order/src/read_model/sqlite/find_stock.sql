-- What is there of a product. Index: the primary key. Lock: none. Repeat: reads only.
select on_hand, reserved from stock_on_hand where product = ?1
