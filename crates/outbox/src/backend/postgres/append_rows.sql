-- Appends events, in order; each array is a column. Index: primary keys. Lock: the rows of the aggregates in
-- outbox_sequence, in the order of their keys. Repeat: a given number is refused, a drawn one goes on.
select outbox_append_rows($1::text[], $2, $3, $4, $5, $6, $7::uuid[], array_fill(to_timestamp($8 / 1000.0), array[cardinality($1::text[])]))
