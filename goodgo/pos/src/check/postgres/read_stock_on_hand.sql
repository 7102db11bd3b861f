-- All stock as queries see it. A scan. No lock; a read.
select product, on_hand, reserved from stock_on_hand
