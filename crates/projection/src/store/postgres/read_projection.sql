-- A projection's number. Index: projection.name. Lock: none. Repeat: reads the same.
select id from projection where name = $1
