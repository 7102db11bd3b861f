-- How far ids have been drawn and which transactions may still run. Index: none. Lock: none. Repeat: reads anew.
select frontier, proof, oldest, today - date '2000-01-01' from outbox_frontier($1)
