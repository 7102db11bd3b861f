-- Sagas that are neither settled nor parked (index saga_lane: only these have a lane). No lock; a read.
select count(*) from saga where lane is not null and status in ('pending', 'running', 'compensating')
