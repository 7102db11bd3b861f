-- Extends the lease, and fences: no row means that another relay has taken the lane. Every mark begins with it.
-- Index: primary key. Lock: the one writer's. Repeat: extends again.
update outbox_lane set lease_until = ?1 where lane = 0 and epoch = ?2
