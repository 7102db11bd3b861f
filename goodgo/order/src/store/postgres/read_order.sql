-- An order's state. Index: the unique id. Lock: none. Repeat: reads only.
select key, status, total, returned, version from orders where id = $1
