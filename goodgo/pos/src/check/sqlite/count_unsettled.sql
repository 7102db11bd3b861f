-- Sagas that are neither settled nor parked (index saga_unsettled). No lock; a read.
select count(*) from saga where status in ('pending', 'running', 'compensating')
