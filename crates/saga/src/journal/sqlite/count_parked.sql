-- How many sagas wait for an operator (index saga_parked). No lock; a read.
select count(*) from saga where status = 'failed'
