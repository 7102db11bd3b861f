-- What can still be promised of some products, and their versions: what a lane decides on, and compares when it writes.
-- Index: the primary key. Lock: none. Repeat: reads only.
select product, on_hand - reserved, version from stock where product = any($1)
