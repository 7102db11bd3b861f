-- How many sagas wait for an operator (index saga_parked_no). No lock; a read.
select count(*) from saga where parked
