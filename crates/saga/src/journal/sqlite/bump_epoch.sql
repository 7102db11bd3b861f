-- Takes a lane: from here on whoever held it writes nothing more. By primary key of `lane`, under the writer's lock.
-- A repeat takes the lane once more, which is harmless: the epoch only grows, also over a database that lost commits,
-- because it is never below the clock.
insert into lane (id, epoch) values (?1, max(1, ?2))
on conflict (id) do update set epoch = max(lane.epoch + 1, excluded.epoch)
returning epoch
