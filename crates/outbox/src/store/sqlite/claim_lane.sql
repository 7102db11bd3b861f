-- Takes the lane under a new epoch: when its lease has ended, or (?4) when the holder has this node's name, which is then
-- an earlier life of this process.
-- Index: primary key. Lock: the one writer's. Repeat: takes a further epoch, which fences the first.
update outbox_lane set epoch = epoch + 1, node = ?1, lease_until = ?3
where lane = 0 and (lease_until <= ?2 or (?4 and node = ?1))
returning epoch
