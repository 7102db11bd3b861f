-- The invariant that every saga that is neither settled nor parked has a time at which it wakes: always 0. Over the index
-- saga_lane. No lock; a read.
select count(*) from saga
where lane is not null and status in ('pending', 'running', 'compensating') and wake_at is null and not held
